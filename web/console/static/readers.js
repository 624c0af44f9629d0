/**
 * The transports. Each is one function with the same contract:
 *
 *     open(job, after, listener) → { close() }
 *
 * It reads the job's log after entry `after` and tells the listener `opened()`, `entry(entry)`, `notice(document)`
 * (what is not an entry: attached, gap, reconnect, unavailable) and `lost({ comesBack, status, reason, problem })`.
 * `comesBack`: the reader reconnects by itself. After `close()` whatever it still says is not listened to.
 */

import { open as openEventSource } from "./readers/event_source.js";
import { open as openNdjson } from "./readers/ndjson.js";
import { openLong, openShort } from "./readers/polling.js";
import { open as openWebSocket } from "./readers/websocket.js";

const NO_HEADERS = "A browser cannot send a key with this one.";

export const TRANSPORTS = {
  sse: {
    name: "SSE (EventSource)",
    hint: "The browser’s own EventSource. It reconnects by itself, with the id of the last entry.",
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
    hint: "One plain request after the other; the server answers as soon as there is something.",
    open: openLong,
    curl: (url, after) => `'${url}/entries?after=${after}&wait=25'`,
  },
  short: {
    name: "Short polling",
    hint: "A question every second. Works through anything.",
    open: openShort,
    curl: (url, after) => `'${url}/entries?after=${after}&wait=0'`,
  },
};
