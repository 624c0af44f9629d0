/** The transports as the console names and explains them. "auto" is the client's ladder. */

import { session } from "../connection.js";
import { t } from "../words.js";

const at = (path) => (url, after) => `'${url}${path.replace("AFTER", after)}'`;

export const CHOICES = {
  auto: {
    name: () => t("Automatic"),
    hint: () => t("SSE, or the next transport that works on this network."),
    curl: at("/stream?after=AFTER"),
  },
  sse: {
    name: () => "SSE",
    hint: () => t("One response that stays open. Needs only HTTP."),
    curl: at("/stream?after=AFTER"),
  },
  ndjson: {
    name: () => "NDJSON",
    hint: () => t("The same, one JSON document per line."),
    curl: (url, after) => `-H 'Accept: application/x-ndjson' '${url}/stream?after=${after}'`,
  },
  websocket: {
    name: () => "WebSocket",
    hint: () => t("One JSON text frame per entry."),
    curl: at("/stream?after=AFTER"),
  },
  long: {
    name: () => t("Long polling"),
    hint: () => t("Repeated requests. The server answers as soon as an entry arrives."),
    curl: at("/entries?after=AFTER&wait=25"),
  },
  short: {
    name: () => t("Short polling"),
    hint: () => t("One request per second. Works on any network."),
    curl: at("/entries?after=AFTER&wait=0"),
  },
};

/** The transport's name for a reader. */
export const nameOf = (name) => CHOICES[name]?.name() ?? (name === "answer" ? t("plain answer") : name);

/** The list for the client: one transport, or undefined for its ladder. */
export const listOf = (choice) => (choice === "auto" ? undefined : [choice]);

/** A choice from an address, or "auto" where it is none of these. */
export const usable = (choice) => (Object.hasOwn(CHOICES, choice) ? choice : "auto");

/** The command that follows a job from a terminal. */
export function curlOf(choice, job, after) {
  const key = session().required ? `-H "Authorization: Bearer $SPOOL_KEY" ` : "";
  return `curl -N ${key}${CHOICES[choice].curl(`${location.origin}/jobs/${job}`, after)}`;
}
