// Fetch a file of this folder, unpack it, and make sure that it is the one that was built. Whatever
// goes wrong ends as an Error whose message a reader understands.

/** @param {{file: string, sha256: string}} entry of networks.json; the hash is of the unpacked file.
 *  @param {boolean} again ask the server even if a copy is at hand.
 *  @returns {Promise<{content: Uint8Array, fetched: number}>} fetched: bytes on the way. */
export async function fetchFile({file, sha256}, again = false) {
  // The hash in the address: a new build is another address, and no cache can hand out the old one.
  const address = new URL(`${file}?sha256=${sha256.slice(0, 16)}`, import.meta.url);
  let response;
  try {
    response = await fetch(address, {cache: again ? "reload" : "default"});
  } catch {
    throw new Error(`${file} cannot be reached. Is there a connection?`);
  }
  if (!response.ok) throw new Error(`${file} is missing on the server (${response.status}).`);
  let packed;
  try {
    packed = new Uint8Array(await response.arrayBuffer());
  } catch {
    throw new Error(`${file} stopped coming before its end.`);
  }
  const content = await unpack(packed, file);
  await check(content, sha256, file);
  return {content, fetched: packed.length};
}

async function unpack(packed, file) {
  // A server may have unpacked it already.
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) return packed;
  if (!globalThis.DecompressionStream) throw new Error(`This browser is too old to unpack ${file}.`);
  try {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Error(`${file} is damaged: its ${count(packed.length)} bytes cannot be unpacked.`);
  }
}

async function check(content, sha256, file) {
  if (!globalThis.crypto?.subtle) return; // Browsers have it on https and on localhost only.
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const hex = Array.from(digest, byte => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== sha256)
    throw new Error(`${file} is damaged: its SHA-256 is ${hex.slice(0, 8)}…, not ${sha256.slice(0, 8)}…`);
}

/** A number with commas, as the book writes it. */
export const count = number => number.toLocaleString("en-US");

/** A number of bytes, short. */
export const size = bytes => bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
