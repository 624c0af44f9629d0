/** Shows the reader: its transport, how its connection stands, and whether anything came twice or not at all. */

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

/** The transport to use: the one wanted, unless it cannot carry the key. */
export function usable(wanted) {
  const known = wanted in TRANSPORTS ? wanted : "sse";
  return storedKey() && TRANSPORTS[known].keyed ? "ndjson" : known;
}

/** Say what the chosen transport is, and why others cannot be chosen. */
export function showHint(name) {
  const refused = Object.values(TRANSPORTS).filter((transport) => transport.keyed);
  const why = storedKey()
    ? ` ${refused.map((transport) => transport.name).join(" and ")}: a browser cannot send a key with those.`
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
  // After the end, the whole log again: from the end there would be nothing to see.
  const after = connection === "ended" ? 0 : cursor;
  const key = storedKey() ? `-H "Authorization: Bearer $SPOOL_KEY" ` : "";
  setText(byId("curl"), `curl -sN ${key}${TRANSPORTS[transport].curl(`${location.origin}/jobs/${jobId}`, after)}`);
}

/** Copy the curl command, or select it where the clipboard is not ours to use. */
export async function copyCurl() {
  const button = byId("copy-curl");
  try {
    await navigator.clipboard.writeText(byId("curl").textContent);
    setText(button, "Copied");
  } catch {
    getSelection().selectAllChildren(byId("curl"));
    setText(button, "Selected: copy it now");
  }
  setTimeout(() => setText(button, "Copy curl"), 2000);
}
