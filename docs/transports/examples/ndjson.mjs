// Follow a job over NDJSON: node ndjson.mjs JOB [AFTER]. Node 20 or newer; SPOOL_URL and SPOOL_KEY are optional.

const { SPOOL_URL = "http://127.0.0.1:8000", SPOOL_KEY } = process.env;
const HEADERS = { Accept: "application/x-ndjson", ...(SPOOL_KEY && { Authorization: `Bearer ${SPOOL_KEY}` }) };
const TEMPORARY = new Set([429, 502, 503, 504]);
const SILENCE_MS = 40_000; // A heartbeat comes every 15 s.

/** The whole lines of a body. TextDecoderStream keeps a character together that arrives in two chunks. */
async function* lines(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return; // A line without its end was cut: it comes again.
    alive();
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

/** One connection: what the server sends after entry `after`. */
async function* connection(job, after) {
  const abort = new AbortController();
  let timer;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(), SILENCE_MS);
  };
  alive();
  try {
    const url = `${SPOOL_URL}/jobs/${job}/stream?after=${after}`;
    const response = await fetch(url, { headers: HEADERS, signal: abort.signal });
    if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
    for await (const line of lines(response.body, alive)) yield JSON.parse(line);
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
}

let [job, last = 0] = process.argv.slice(2);
for (let ended = false; !ended; ) {
  try {
    for await (const { id, kind, type, text } of connection(job, last)) {
      process.stdout.write(kind === "token" ? text : `\n[${kind ?? type}]\n`);
      if (kind) last = id; // Messages have a type, no kind and no id.
      ended = ["done", "failed", "cancelled"].includes(kind);
    }
  } catch (error) {
    if (error.status && !TEMPORARY.has(error.status)) throw error;
  }
  if (!ended) await new Promise((resolve) => setTimeout(resolve, 500 + 1000 * Math.random()));
}
