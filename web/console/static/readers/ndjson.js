/** NDJSON over fetch: one entry per line. Use it if a header must be sent. */

import { request } from "../api.js";

// The server sends at least one byte every 15 s; after this silence the connection is dead.
const SILENCE_MS = 40_000;

export function open(job, after, listener) {
  const abort = new AbortController();
  read(job, after, listener, abort).catch((problem) => {
    if (!abort.signal.aborted || problem === abort.signal.reason) listener.lost({ problem });
  });
  return { close: () => abort.abort() };
}

async function read(job, after, listener, abort) {
  const headers = { Accept: "application/x-ndjson" };
  const response = await request(`/jobs/${job}/stream?after=${after}&ping=1`, { headers, signal: abort.signal });
  listener.opened();
  const lines = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const watchdog = setTimeout(() => abort.abort(new Error("The connection is silent.")), SILENCE_MS);
    const { done, value } = await lines.read().finally(() => clearTimeout(watchdog));
    if (done) break;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    for (const line of whole) if (line) tell(JSON.parse(line), listener);
  }
  listener.lost({});
}

function tell(document, listener) {
  if (document.kind) listener.entry(document);
  else if (document.type !== "ping") listener.notice(document);
}
