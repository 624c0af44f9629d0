/** WebSocket: an entry per text frame. A browser cannot send a header with it, so it needs a server without keys. */

import { SpoolError } from "../errors.js";

const STATUS = { 1008: 403, 1013: 503, 4401: 401, 4404: 404, 4410: 410, 4429: 429 };
const CLEAN = new Set([1000, 1001]);

export function read({ http, path, after, signal, sink }) {
  return new Promise((resolve, reject) => {
    const socket = new http.WebSocket(http.socketUrl(`${path}/ws?after=${after}`), "spool.json");
    const stop = () => {
      socket.onmessage = null;
      socket.close();
      reject(signal.reason);
    };
    signal.addEventListener("abort", stop, { once: true });
    let hasOpened = false;
    socket.onopen = () => {
      hasOpened = true;
      sink.opened();
    };
    // Not every runtime closes a socket that it could not open.
    socket.onerror = () => hasOpened || socket.onclose({ code: 1006, reason: "" });
    socket.onmessage = ({ data }) => sink.document(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      signal.removeEventListener("abort", stop);
      if (CLEAN.has(code)) resolve({});
      else reject(new SpoolError(reason || "The connection was lost", verdict(code, reason)));
    };
  });
}

/** A close code of the server's own is its answer, as a problem document is over HTTP. */
const verdict = (code, reason) => (code in STATUS ? { status: STATUS[code], problem: { title: reason, code } } : {});
