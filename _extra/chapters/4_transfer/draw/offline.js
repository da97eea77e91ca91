// Keep what this page has loaded, for a reader without a connection. See ../draw_worker.js.

/** @param {string} version of what was built: another one replaces what was kept
 *  @param {(message: string) => void} say called with nothing while something is not kept yet */
export async function keepForOffline(version, say) {
  if (!("serviceWorker" in navigator)) return; // Not on http, except on localhost.
  try {
    const worker = new URL(`../draw_worker.js?version=${version}`, import.meta.url);
    // The scope is a beginning of addresses: this page, and the files of its folder.
    const scope = new URL("../draw", import.meta.url).pathname;
    const registered = await navigator.serviceWorker.register(worker, {scope});
    keepWhatComes(await activated(registered.installing ?? registered.waiting ?? registered.active), say);
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

/** Tell the worker what was loaded: so far, and from now on, because a file that was on its way when
 *  the worker took over did not pass through it. */
function keepWhatComes(worker, say) {
  const loaded = new Set([withoutHash(location.href)]);
  let latest = 0;
  const keep = () => {
    const asked = ++latest, {port1, port2} = new MessageChannel();
    port1.onmessage = ({data: everything}) => {
      if (asked === latest) say(everything ? "This page now works without a connection, too." : "");
    };
    say("");
    worker.postMessage([...loaded], [port2]);
  };
  new PerformanceObserver(list => {
    for (const {name} of list.getEntries()) if (name.startsWith(location.origin)) loaded.add(withoutHash(name));
    keep();
  }).observe({type: "resource", buffered: true});
}

const withoutHash = url => url.split("#")[0];
