// Threads for the network: browsers allow them on isolated pages alone. Where nothing isolates this one, a service worker does.

/** Resolves when the page is as isolated as it can be; it may be loaded anew for that, once. */
export async function allowThreads() {
  const tried = 'bagnet-isolated';
  if (crossOriginIsolated || !('serviceWorker' in navigator) || sessionStorage.getItem(tried)) return;
  try {
    await navigator.serviceWorker.register('./isolate.js');
    await navigator.serviceWorker.ready;
    sessionStorage.setItem(tried, 'yes');
    location.reload();
    await new Promise(() => {}); // nothing more is to happen on this page
  } catch {
    // a browser that forbids it computes with one thread
  }
}
