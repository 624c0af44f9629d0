/** SSE over the browser's EventSource, which reconnects by itself with the id of the last event. */

const KINDS = ["started", "token", "reasoning", "tool_call", "usage", "restarted", "continued", "waiting"];
const TERMINAL = ["done", "failed", "cancelled"];
const NOTICES = ["attached", "gap", "queued", "reconnect", "unavailable"];

export function open(job, after, listener) {
  const source = new EventSource(`/jobs/${job}/stream?after=${after}`);
  const on = (names, tell) =>
    names.forEach((name) => source.addEventListener(name, (event) => tell(JSON.parse(event.data))));
  on([...KINDS, ...TERMINAL], listener.entry);
  on(NOTICES, listener.notice);
  source.onopen = listener.opened;
  source.onerror = () => listener.lost({ comesBack: source.readyState === EventSource.CONNECTING });
  return { close: () => source.close() };
}
