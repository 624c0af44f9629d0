/** NDJSON: one entry per line of a response that stays open. A proxy that holds SSE back often holds this back too. */

import { SpoolError } from "../errors.js";

export async function read({ http, path, after, signal, sink }) {
  const headers = { Accept: "application/x-ndjson" };
  // `ping=1`: lines during silence, which show that the connection is alive.
  const response = await http.open(`${path}/stream?after=${after}&ping=1`, { headers, signal });
  const type = response.headers.get("Content-Type") ?? "no content type";
  if (!type.startsWith("application/x-ndjson")) {
    await response.body?.cancel();
    throw new SpoolError(`Something between answered the stream with ${type}`, { status: 502 });
  }
  await drain(response.body, sink);
  return {};
}

async function drain(body, sink) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw cause instanceof SpoolError ? cause : new SpoolError("The connection was lost", { cause });
    });
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) tell(JSON.parse(line), sink);
  }
}

function tell(document, sink) {
  if (document.type === "ping") sink.opened();
  else sink.document(document);
}
