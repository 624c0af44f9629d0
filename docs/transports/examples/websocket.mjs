// Follow a job over a WebSocket: node websocket.mjs JOB [AFTER]. SPOOL_URL and SPOOL_KEY are optional.
// Node 22 or newer (Node 20: node --experimental-websocket). `connection` and `follow` also work in browsers.

const { SPOOL_URL = "http://127.0.0.1:8000", SPOOL_KEY } = process.env;
const FINAL = new Set([1008, 4401, 4404, 4410]); // not allowed, credential ended, no such job, gone
const SILENCE_MS = 40_000; // A heartbeat comes every 15 s.

/** The path of the socket. A browser's WebSocket has no headers: a server that holds the key makes a signed link. */
async function socketPath(job) {
  if (!SPOOL_KEY) return `/jobs/${job}/ws?`;
  const response = await fetch(`${SPOOL_URL}/jobs/${job}/links`, {
    method: "POST",
    headers: { Authorization: `Bearer ${SPOOL_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify({ scope: ["ws"] }),
  });
  if (!response.ok) throw new Error(await response.text());
  return `${(await response.json()).ws}&`;
}

/** One connection, which ends with its close code. */
function connection(url, onDocument) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, "spool.json");
    let timer;
    const end = (code) => {
      clearTimeout(timer);
      socket.onmessage = socket.onerror = socket.onclose = null;
      socket.close();
      resolve(code);
    };
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(end, SILENCE_MS, 1006);
    };
    alive();
    socket.onmessage = ({ data }) => (alive(), onDocument(JSON.parse(data)));
    socket.onerror = () => end(1006);
    socket.onclose = ({ code }) => end(code);
  });
}

/** Every entry after `last`, once and in order, through lost connections. */
async function follow(job, last, path, onDocument) {
  for (;;) {
    const url = `${SPOOL_URL.replace(/^http/, "ws")}${path}heartbeat=event&after=${last}`;
    const code = await connection(url, (document) => {
      if (document.kind) last = document.id; // Messages have a type, no kind and no id.
      onDocument(document);
    });
    if (code === 1000) return;
    if (FINAL.has(code)) throw new Error(`closed with ${code}`);
    await new Promise((resolve) => setTimeout(resolve, 500 + 1000 * Math.random()));
  }
}

const [job, after = 0] = process.argv.slice(2);
const show = ({ kind, type, text }) => process.stdout.write(kind === "token" ? text : `\n[${kind ?? type}]\n`);
await follow(job, after, await socketPath(job), show);
