// The service worker of the page "Draw a digit". It lies beside the page because a worker looks after
// addresses below its own only. Online, it lets everything through and keeps a copy; offline, it
// answers with the copy. Its address has the version of what was built: another version is another
// worker, with a cache of its own, and the old cache goes.

const PREFIX = "draw-a-digit-";
const CACHE = PREFIX + new URL(location).searchParams.get("version");

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("activate", event => event.waitUntil((async () => {
  for (const name of await caches.keys())
    if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
  await self.clients.claim();
})()));

self.addEventListener("fetch", event => {
  const {request} = event;
  if (request.method === "GET" && new URL(request.url).origin === location.origin)
    event.respondWith(respond(request));
});

async function respond(request) {
  const cache = await caches.open(CACHE);
  const kept = () => cache.match(request, {ignoreSearch: request.mode === "navigate"});
  // A file whose address has its hash never changes.
  const fixed = new URL(request.url).searchParams.has("sha256") && request.cache !== "reload";
  const copy = fixed && await kept();
  if (copy) return copy;
  try {
    const response = await fetch(request);
    if (response.status === 200) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const copy = await kept();
    if (copy) return copy;
    throw error;
  }
}

// What did not pass through the worker, because it was not there yet: from the browser's own cache,
// mostly.
self.addEventListener("message", event => event.waitUntil((async () => {
  const cache = await caches.open(CACHE);
  const keep = async url => {
    if (await cache.match(url)) return true;
    const response = await fetch(url, {cache: "force-cache"}).catch(() => null);
    if (response?.status !== 200) return false;
    await cache.put(url, response);
    return true;
  };
  const done = await Promise.all(event.data.map(keep));
  event.ports[0].postMessage(done.every(Boolean));
})()));
