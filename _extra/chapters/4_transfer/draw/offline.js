// Keep what this page has loaded, for a reader without a connection. See ../draw_worker.js.

/** @param {string} version of what was built: another one replaces what was kept
 *  @param {(message: string) => void} say */
export async function keepForOffline(version, say) {
  if (!("serviceWorker" in navigator)) return; // Not on http, except on localhost.
  try {
    const worker = new URL(`../draw_worker.js?version=${version}`, import.meta.url);
    // The scope is a beginning of addresses: this page, and the files of its folder.
    const scope = new URL("../draw", import.meta.url).pathname;
    const registered = await navigator.serviceWorker.register(worker, {scope});
    const active = await activated(registered.installing ?? registered.waiting ?? registered.active);
    const urls = performance.getEntriesByType("resource").map(entry => entry.name);
    const own = [location.href, ...urls].filter(url => url.startsWith(location.origin));
    const {port1, port2} = new MessageChannel();
    port1.onmessage = ({data}) => say(data ? "This page now works without a connection, too." : "");
    active.postMessage([...new Set(own.map(url => url.split("#")[0]))], [port2]);
  } catch {
    // A browser may forbid it, for instance in a private window. The page does without.
  }
}

/** The worker, once it has taken over from the one before. */
function activated(worker) {
  return new Promise(resolve => {
    const look = () => { if (worker.state === "activated") resolve(worker); };
    worker.addEventListener("statechange", look);
    look();
  });
}
