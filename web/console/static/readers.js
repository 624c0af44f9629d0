/**
 * The transports. Each is one function with the same contract:
 *
 *     open(job, after, listener) → { close() }
 *
 * It reads the job's log after entry `after` and calls the listener's `opened()`, `entry(entry)`, `notice(document)`
 * (not an entry: attached, gap, reconnect, unavailable) and `lost({ comesBack, status, reason, problem })`.
 * `comesBack`: the reader reconnects by itself. After `close()` the caller ignores all further calls.
 */

import { open as openEventSource } from "./readers/event_source.js";
import { open as openNdjson } from "./readers/ndjson.js";
import { openLong, openShort } from "./readers/polling.js";
import { open as openWebSocket } from "./readers/websocket.js";

const NO_HEADERS = "Browsers cannot send a key with this transport.";

export const TRANSPORTS = {
  sse: {
    name: "SSE (EventSource)",
    hint: "The browser’s EventSource. It reconnects automatically, with the id of the last entry.",
    keyed: NO_HEADERS,
    open: openEventSource,
    curl: (url, after) => `-H 'Accept: text/event-stream' '${url}/stream?after=${after}'`,
  },
  ndjson: {
    name: "NDJSON",
    hint: "fetch, one JSON entry per line.",
    open: openNdjson,
    curl: (url, after) => `-H 'Accept: application/x-ndjson' '${url}/stream?after=${after}'`,
  },
  websocket: {
    name: "WebSocket",
    hint: "One JSON text frame per entry.",
    keyed: NO_HEADERS,
    open: openWebSocket,
    curl: (url, after) => `-H 'Accept: text/event-stream' '${url}/stream?after=${after}'`,
  },
  long: {
    name: "Long polling",
    hint: "One plain request after another. The server answers as soon as an entry arrives.",
    open: openLong,
    curl: (url, after) => `'${url}/entries?after=${after}&wait=25'`,
  },
  short: {
    name: "Short polling",
    hint: "One request per second. Works on any network.",
    open: openShort,
    curl: (url, after) => `'${url}/entries?after=${after}&wait=0'`,
  },
};
