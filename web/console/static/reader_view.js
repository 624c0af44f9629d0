/** Shows the reader: its transport, its connection, and the number of duplicate or missing entries. */

import { storedKey } from "./api.js";
import { byId, element, setText } from "./dom.js";
import { drawSparkline } from "./pace.js";
import { TRANSPORTS } from "./readers.js";
import { ThreadView } from "./thread_view.js";

const thread = new ThreadView(byId("thread"));

/** The choice of transports. `choose(name)` is called when the user makes one. */
export function buildTransports(chosen, choose) {
  const box = byId("transports");
  box.replaceChildren(box.firstElementChild);
  for (const [name, transport] of Object.entries(TRANSPORTS)) {
    const refused = storedKey() && transport.keyed;
    const input = element("input", { type: "radio", name: "transport", value: name, checked: name === chosen });
    input.disabled = Boolean(refused);
    input.addEventListener("change", () => choose(name));
    const label = element("label", { title: refused || transport.hint }, input, element("span", {}, transport.name));
    label.dataset.transport = name;
    box.append(label);
  }
  showHint(chosen);
}

/** The wanted transport, or NDJSON if that one cannot carry the key. */
export function usable(wanted) {
  const known = wanted in TRANSPORTS ? wanted : "sse";
  return storedKey() && TRANSPORTS[known].keyed ? "ndjson" : known;
}

/** Describes the chosen transport, and why others are disabled. */
export function showHint(name) {
  const refused = Object.values(TRANSPORTS).filter((transport) => transport.keyed);
  const why = storedKey()
    ? ` ${refused.map((transport) => transport.name).join(" and ")}: browsers cannot send a key with these transports.`
    : "";
  setText(byId("transport-hint"), TRANSPORTS[name].hint + why);
}

export function drawReader(follower, pace) {
  const connection = byId("connection");
  connection.dataset.connection = follower.connection;
  setText(connection, follower.connection);
  setText(byId("last-entry"), String(follower.cursor));
  setText(byId("reconnects"), String(follower.reconnects));
  setText(byId("irregular"), String(follower.irregular));
  byId("irregular").dataset.bad = String(follower.irregular > 0);
  setText(byId("reader-note"), follower.note);
  const { perSecond } = pace;
  setText(byId("pace"), perSecond.toFixed(perSecond > 0 && perSecond < 10 ? 1 : 0));
  drawSparkline(byId("sparkline"), pace.series());
  thread.show(follower.stretches);
  byId("cut").disabled = !["connected", "connecting"].includes(follower.connection);
  drawCurl(follower);
}

function drawCurl({ jobId, transport, cursor, connection }) {
  byId("curl-box").hidden = false;
  // After the end, show the whole log: a reader at the cursor would get nothing.
  const after = connection === "ended" ? 0 : cursor;
  const key = storedKey() ? `-H "Authorization: Bearer $SPOOL_KEY" ` : "";
  setText(byId("curl"), `curl -sN ${key}${TRANSPORTS[transport].curl(`${location.origin}/jobs/${jobId}`, after)}`);
}

/** Copies the curl command, or selects it if the clipboard is not available. */
export async function copyCurl() {
  const button = byId("copy-curl");
  try {
    await navigator.clipboard.writeText(byId("curl").textContent);
    setText(button, "Copied");
  } catch {
    getSelection().selectAllChildren(byId("curl"));
    setText(button, "Selected. Copy it now");
  }
  setTimeout(() => setText(button, "Copy curl"), 2000);
}
