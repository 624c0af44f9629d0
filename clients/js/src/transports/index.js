/**
 * The transports, best first. Each reads the log after an entry until its connection ends:
 *
 *     read({ http, path, after, signal, sink }) → Promise<{ retryMs? }>
 *
 * The sink gets `opened()` at every sign of activity, `document(document)` for each document, and `record(job)`.
 * The promise resolves when the server ended the connection, and rejects with a `SpoolError` when it broke, or with
 * the reason of `signal`.
 */

import * as answer from "./answer.js";
import * as ndjson from "./ndjson.js";
import { readLong, readShort } from "./polling.js";
import * as sse from "./sse.js";
import * as websocket from "./websocket.js";

const isStream = true;

export const TRANSPORTS = {
  sse: { read: sse.read, isStream },
  websocket: { read: websocket.read, isStream },
  long: { read: readLong, extraMs: 2000 },
  short: { read: readShort },
  answer: { read: answer.read },
  ndjson: { read: ndjson.read, isStream },
};

/** Those that hold an HTTP connection open, of which a browser has six for each host. */
export const HOLDS_CONNECTION = new Set(["sse", "ndjson", "long"]);

/** Those that are tried by default. NDJSON passes where SSE passes, so trying both is pointless. */
const LADDER = ["sse", "websocket", "long", "short", "answer"];

/** The names of those that work here: a WebSocket cannot carry a key, and older runtimes have none. */
export function usable(http, wanted = LADDER) {
  for (const name of wanted) if (!(name in TRANSPORTS)) throw new TypeError(`unknown transport: ${name}`);
  const names = wanted.filter((name) => name !== "websocket" || (http.WebSocket && !http.token));
  if (!names.length) throw new TypeError(`none of these transports works here: ${wanted.join(", ")}`);
  return names;
}
