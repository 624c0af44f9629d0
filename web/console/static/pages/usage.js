/** What jobs have used, by day and model, credential or owner: drawn, and as a table. */

import { session, usage } from "../connection.js";
import { byId, element, setText } from "../dom.js";
import { drawDays } from "../job/charts.js";
import { counted, t } from "../words.js";

const DAY_MS = 86_400_000;
const COLOURS = 6;
const MEASURES = {
  tokens: (row) => row.input_tokens + row.output_tokens,
  jobs: (row) => row.jobs,
  seconds: (row) => row.seconds,
};
const TOTALS = [
  ["input_tokens", () => t("Input tokens")],
  ["output_tokens", () => t("Output tokens")],
  ["jobs", () => t("Jobs")],
  ["unsuccessful_attempts", () => t("Unsuccessful attempts")],
  ["seconds", () => t("Seconds")],
];

export class UsagePage {
  #shown = 0;
  #found = null;

  constructor({ refused }) {
    this.refused = refused;
    for (const name of ["usage-days", "usage-by"]) byId(name).addEventListener("change", () => this.#load());
    byId("usage-measure").addEventListener("change", () => this.#draw());
    byId("usage-form").addEventListener("submit", (event) => event.preventDefault());
  }

  show() {
    document.title = `${t("Usage")} · Spool`;
    byId("usage-by").querySelector('[value="owner"]').hidden = !session().scopes.includes("admin");
    this.#load();
  }

  leave() {
    this.#shown += 1;
  }

  async #load() {
    const shown = (this.#shown += 1);
    const by = byId("usage-by").value;
    try {
      const document = await usage({ from: dayBefore(Number(byId("usage-days").value) - 1), group: `day,${by}` });
      if (shown !== this.#shown) return;
      setText(byId("usage-error"), "");
      this.#found = { ...document, by };
      this.#draw();
    } catch (error) {
      if (shown !== this.#shown) return;
      setText(byId("usage-error"), error.message);
      this.refused(error);
    }
  }

  #draw() {
    if (!this.#found) return;
    const { usage: rows, total, from, to, by } = this.#found;
    const measure = MEASURES[byId("usage-measure").value];
    const groups = grouped(rows, by).sort((a, b) => measure(b) - measure(a));
    const colourOf = new Map(groups.map(({ name }, index) => [name, Math.min(index, COLOURS - 1)]));
    byId("usage-totals").replaceChildren(
      ...TOTALS.map(([field, name]) =>
        element("div", {}, element("dt", {}, name()), element("dd", {}, counted(Math.round(total[field])))),
      ),
    );
    const days = daysOf(from, to).map((day) => ({
      day,
      parts: partsOf(rows.filter((row) => row.day === day), by, measure, colourOf),
    }));
    byId("usage-table").hidden = !groups.length;
    byId("usage-chart").toggleAttribute("hidden", !groups.length);
    drawDays(byId("usage-chart"), days);
    byId("usage-by-name").textContent = byId("usage-by").selectedOptions[0].textContent;
    byId("usage-rows").replaceChildren(...groups.map((group) => rowOf(group, colourOf.get(group.name))));
    setText(byId("usage-note"), groups.length ? "" : t("No job ended in this period."));
  }
}

/** The sums of rows with the same name, over all days. */
function grouped(rows, by) {
  const sums = new Map();
  for (const row of rows) {
    const sum = sums.get(row[by]) ?? { name: row[by], input_tokens: 0, output_tokens: 0, jobs: 0, attempts: 0, seconds: 0 };
    for (const field of ["input_tokens", "output_tokens", "jobs", "attempts", "seconds"]) sum[field] += row[field];
    sums.set(row[by], sum);
  }
  return [...sums.values()];
}

const partsOf = (rows, by, measure, colourOf) =>
  rows
    .map((row) => ({ name: nameOf(row[by]), value: measure(row), colour: colourOf.get(row[by]) }))
    .sort((a, b) => a.colour - b.colour);

const nameOf = (name) => name || t("none");

function rowOf({ name, input_tokens: input, output_tokens: output, jobs, attempts, seconds }, colour) {
  const swatch = element("i", { className: "swatch", "data-colour": String(colour) });
  const numbers = [input, output, jobs, attempts, Math.round(seconds)];
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, swatch, nameOf(name)),
    ...numbers.map((value) => element("td", { className: "number" }, counted(value))),
  );
}

const dayBefore = (days) => new Date(Date.now() - days * DAY_MS).toISOString().slice(0, 10);

function daysOf(from, to) {
  const count = Math.round((Date.parse(to) - Date.parse(from)) / DAY_MS) + 1;
  return Array.from({ length: count }, (_, n) => new Date(Date.parse(from) + n * DAY_MS).toISOString().slice(0, 10));
}
