/** SSE by fetch: it can send a credential, and sees the server's heartbeats, which EventSource hides. */

import { createParser } from "../../vendor/eventsource-parser/index.js";
import { SpoolError } from "../errors.js";

/** Ends that the server announces, with a reconnect time. After any other end the client's own backoff applies. */
const ANNOUNCED = new Set(["reconnect", "unavailable"]);

export async function read({ http, path, after, signal, sink }) {
  const headers = { Accept: "text/event-stream", ...(after ? { "Last-Event-ID": String(after) } : {}) };
  const timeoutMs = 4 * http.timing.requestMs;
  const response = await http.open(`${path}/stream?after=${after}`, { headers, signal, timeoutMs });
  if (response.status === 204) return {};
  const type = response.headers.get("Content-Type") ?? "no content type";
  if (!type.startsWith("text/event-stream")) {
    await response.body?.cancel();
    throw new SpoolError(`Something between answered the stream with ${type}`, { status: 502 });
  }
  return { retryMs: await drain(response.body, sink) };
}

async function drain(body, sink) {
  let lastRetryMs = 0;
  let retryMs = 0;
  const parser = createParser({
    onEvent({ event, data }) {
      if (ANNOUNCED.has(event)) retryMs = lastRetryMs;
      sink.document(JSON.parse(data));
    },
    onComment: () => sink.opened(),
    onRetry: (ms) => (lastRetryMs = ms),
  });
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw cause instanceof SpoolError ? cause : new SpoolError("The connection was lost", { cause });
    });
    if (done) return retryMs;
    parser.feed(decoder.decode(value, { stream: true }));
  }
}
