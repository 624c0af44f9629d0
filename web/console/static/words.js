/** The page's words in the reader's language. English is the key; a missing translation shows English. */

import { ZH } from "./words_zh.js";

const KEY = "spool.language";
const DICTIONARIES = { zh: ZH };

export const LANGUAGES = { en: "English", zh: "中文" };

const chosen = localStorage.getItem(KEY) || navigator.language.slice(0, 2);
export const language = chosen in LANGUAGES ? chosen : "en";

/** The text in the reader's language, with `{name}` replaced by the value of that name. */
export function t(text, values = {}) {
  const said = DICTIONARIES[language]?.[text] ?? text;
  return said.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Translates the delivered document: texts (`data-t`), labels (`data-t-label`), hints in fields. */
export function translate(root) {
  for (const node of root.querySelectorAll("[data-t]"))
    node.textContent = t(node.textContent.trim().replace(/\s+/g, " "));
  for (const node of root.querySelectorAll("[data-t-label]"))
    node.setAttribute("aria-label", t(node.getAttribute("aria-label")));
  for (const node of root.querySelectorAll("[data-t-hint]")) node.placeholder = t(node.placeholder);
  for (const template of root.querySelectorAll("template")) translate(template.content);
}

/** Chooses a language for this browser, from the next load on. */
export function choose(name) {
  localStorage.setItem(KEY, name);
}

const number = new Intl.NumberFormat(language);

/** A count with the language's separators. */
export const counted = (value) => number.format(value);

/** A time of day, or a date where it is not today's. */
export function moment(at) {
  const when = new Date(at);
  const isToday = when.toDateString() === new Date().toDateString();
  const options = isToday ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "short" };
  return new Intl.DateTimeFormat(language, options).format(when);
}

/** A length of time in words as short as its accuracy allows. */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 60
    ? `${minutes} min ${Math.round((ms % 60_000) / 1000)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
