/** Which jobs the list shows: the fields of its form, and the address that keeps them. */

import { byId, element } from "../dom.js";
import { t } from "../words.js";

const FIELDS = { status: "filter-status", model: "filter-model", metadata: "filter-tag", since: "filter-since", words: "filter-text" };
/** The choices of `since`, in minutes. */
export const SINCE = { "15m": 15, "1h": 60, "1d": 1440, "7d": 10_080 };

/** The values of the form: `{ status, model, metadata, since, words }`. */
export const filter = () => Object.fromEntries(Object.entries(FIELDS).map(([name, id]) => [name, byId(id).value.trim()]));

/** Fills the form. The other models' choices may come later. */
export function fill(query) {
  const model = query.get("model") ?? "";
  byId(FIELDS.model).replaceChildren(element("option", { value: model }, model || t("all")));
  for (const [name, id] of Object.entries(FIELDS)) byId(id).value = query.get(name) ?? "";
}

/** Calls `changed(name)` when a field changes. */
export function onFilter(changed) {
  for (const [name, id] of Object.entries(FIELDS)) {
    byId(id).addEventListener(byId(id).tagName === "INPUT" ? "input" : "change", () => changed(name));
  }
}

/** The earliest creation time of the wanted jobs in ms; 0 for all. */
export const sinceMs = ({ since }, now = Date.now()) => (SINCE[since] ? now - SINCE[since] * 60_000 : 0);
