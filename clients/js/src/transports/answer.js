/** The plain answer: the job's record with its text so far. It needs only one permitted GET. */

import { pause } from "../pause.js";
import { isEnd } from "../state.js";

export async function read({ http, path, signal, sink }) {
  const { pollMs, pollMostMs } = http.timing;
  for (let waitMs = pollMs, tag = ""; ; ) {
    const abortable = { signal, headers: tag ? { "If-None-Match": tag } : {} };
    const { response, document: job } = await http.exchange(path, abortable);
    tag = response.headers.get("ETag") ?? "";
    sink.opened();
    if (job) sink.record(job);
    if (job && isEnd(job.status)) return {};
    waitMs = job ? pollMs : Math.min(pollMostMs, waitMs * 1.25);
    if (!(await pause(waitMs, signal, sink.alarm)) && signal.aborted) throw signal.reason;
  }
}
