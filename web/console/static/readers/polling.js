/** Polling for the entries after the last one. In long polling the server waits, in short polling the client. */

import { entries, pause } from "../api.js";

const LONG_WAIT_S = 25;
const SHORT_PAUSE_MS = 1000;

export const openLong = (job, after, listener) => open(job, after, listener, LONG_WAIT_S, 0);
export const openShort = (job, after, listener) => open(job, after, listener, 0, SHORT_PAUSE_MS);

function open(job, after, listener, waitS, pauseMs) {
  const abort = new AbortController();
  poll(job, after, listener, waitS, pauseMs, abort.signal).catch((problem) => {
    if (!abort.signal.aborted) listener.lost({ problem });
  });
  return { close: () => abort.abort() };
}

async function poll(job, after, listener, waitS, pauseMs, signal) {
  // The first request does not wait: its answer shows that the server is reachable.
  let page = await entries(job, after, 0, signal);
  listener.opened();
  for (;;) {
    if (page.gap) listener.notice({ type: "gap", ...page.gap });
    page.entries.forEach(listener.entry);
    if (page.queued) listener.notice(page.queued);
    if (page.ended) return listener.lost({});
    if (pauseMs) await pause(pauseMs);
    if (signal.aborted) return;
    page = await entries(job, page.next, waitS, signal);
  }
}
