/** A WebSocket: one entry per text frame. */

const REFUSED = { 1008: 400, 4401: 401, 4404: 404, 4410: 410 };

export function open(job, after, listener) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/jobs/${job}/ws?after=${after}`, "spool.json");
  socket.onopen = listener.opened;
  socket.onmessage = (event) => {
    const document = JSON.parse(event.data);
    if (document.kind) listener.entry(document);
    else listener.notice(document);
  };
  socket.onclose = ({ code, reason }) => listener.lost({ status: REFUSED[code], reason });
  return { close: () => socket.close() };
}
