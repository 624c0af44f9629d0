/** Which jobs the list shows: the fields of its form, the address that keeps them, and whether a job matches. */

import { byId } from "../dom.js";

const FIELDS = { status: "filter-status", model: "filter-model", tag: "filter-tag", since: "filter-since", words: "filter-text" };
/** The choices of `since`, in minutes. */
export const SINCE = { "15m": 15, "1h": 60, "1d": 1440, "7d": 10_080 };

/** What the form says: `{ status, model, tag, since, words }`. */
export const filter = () => Object.fromEntries(Object.entries(FIELDS).map(([name, id]) => [name, byId(id).value.trim()]));

/** Fills the form. The models' choices may come later. */
export function fill(query) {
  for (const [name, id] of Object.entries(FIELDS)) byId(id).value = query.get(name) ?? "";
}

/** Calls `changed(name)` when a field changes. */
export function onFilter(changed) {
  for (const [name, id] of Object.entries(FIELDS)) {
    byId(id).addEventListener(byId(id).tagName === "INPUT" ? "input" : "change", () => changed(name));
  }
}

/** When the wanted jobs begin; 0 for all. */
export const sinceMs = ({ since }, now = Date.now()) => (SINCE[since] ? now - SINCE[since] * 60_000 : 0);

/** Whether a job has all that the filter asks for. */
export function matches(job, wanted, now = Date.now()) {
  const { status, model, words } = wanted;
  return (
    (!status || job.status === status) &&
    (!model || job.model === model) &&
    Date.parse(job.created_at) >= sinceMs(wanted, now) &&
    hasTag(job.metadata ?? {}, wanted.tag) &&
    (!words || (job.metadata?.prompt ?? "").toLowerCase().includes(words.toLowerCase()))
  );
}

/** A tag is a name in the job's metadata, or `name=value`. */
function hasTag(metadata, tag) {
  if (!tag) return true;
  const [name, ...value] = tag.split("=");
  if (!Object.hasOwn(metadata, name)) return false;
  return !value.length || metadata[name] === value.join("=");
}
