/** Polling: requests for the entries after the last one. Long: the server waits for one. Short: the client waits. */

import { pause } from "../pause.js";

// The first long poll returns soon, also without entries: its answer shows that no proxy holds it back.
const FIRST_WAIT_S = 2;

export async function readLong({ http, path, after, signal, sink }) {
  for (let waitS = FIRST_WAIT_S; ; waitS = http.timing.longWaitS) {
    const timeoutMs = waitS * 1000 + http.timing.requestMs;
    const page = await http.json(`${path}/entries?after=${after}&wait=${waitS}`, { signal, timeoutMs });
    after = tell(page, sink);
    if (page.ended) return {};
  }
}

export async function readShort({ http, path, after, signal, sink }) {
  const { pollMs, pollMostMs } = http.timing;
  for (let waitMs = pollMs; ; ) {
    const page = await http.json(`${path}/entries?after=${after}&wait=0`, { signal });
    after = tell(page, sink);
    if (page.ended) return {};
    waitMs = page.entries.length ? pollMs : Math.min(pollMostMs, waitMs * 1.25);
    if (!(await pause(waitMs, signal, sink.alarm)) && signal.aborted) throw signal.reason;
  }
}

function tell(page, sink) {
  sink.opened();
  if (page.gap) sink.document({ type: "gap", ...page.gap });
  for (const entry of page.entries) sink.document(entry);
  if (page.queued) sink.document(page.queued);
  return page.next;
}
