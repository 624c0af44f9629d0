/** The caller's jobs as a list that stays current, filtered by status, model and words. */

import { hashOfJob } from "../address.js";
import { jobs, models } from "../connection.js";
import { byId, element, setText } from "../dom.js";
import { statusName } from "../job/card.js";
import { counted, duration, moment, t } from "../words.js";

const AGAIN_MS = 2000;
const PAGE = 25;
const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];

export class JobsPage {
  #timer = 0;
  #known = [];
  #cursor = null;
  #batch = "";
  #asked = 0;

  constructor({ refused }) {
    this.refused = refused;
    byId("filter-status").append(
      element("option", { value: "" }, t("all")),
      ...STATES.map((status) => element("option", { value: status }, statusName(status))),
    );
    for (const name of ["filter-status", "filter-model", "filter-text"]) {
      byId(name).addEventListener(name === "filter-text" ? "input" : "change", () => this.#filtered(name));
    }
    byId("job-filter").addEventListener("submit", (event) => event.preventDefault());
    byId("jobs-more").addEventListener("click", () => this.#more());
  }

  async show({ query }) {
    document.title = `${t("Jobs")} · Spool`;
    byId("filter-status").value = query.get("status") ?? "";
    byId("filter-text").value = query.get("words") ?? "";
    this.#batch = query.get("batch") ?? "";
    this.leave();
    this.#known = [];
    this.#refresh();
    const { models: all } = await models().catch(() => ({ models: [] }));
    byId("filter-model").replaceChildren(
      element("option", { value: "" }, t("all")),
      ...all.map(({ name, id }) =>
        element("option", { value: id ?? name, selected: (id ?? name) === query.get("model") }, id ?? name),
      ),
    );
    this.#draw();
  }

  leave() {
    clearTimeout(this.#timer);
    this.#asked += 1;
  }

  #filtered(name) {
    if (name === "filter-status") {
      this.leave();
      this.#known = [];
      this.#refresh();
    } else this.#draw();
    const values = {
      status: byId("filter-status").value,
      model: byId("filter-model").value,
      words: byId("filter-text").value,
      batch: this.#batch,
    };
    const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
    history.replaceState(null, "", `#/jobs${query.size ? `?${query}` : ""}`);
  }

  async #refresh() {
    const asked = (this.#asked += 1);
    try {
      const page = await this.#page();
      if (asked !== this.#asked) return;
      const ids = new Set(page.jobs.map(({ id }) => id));
      const older = this.#known.filter(
        ({ id, created_at }) => !ids.has(id) && created_at <= (page.jobs.at(-1)?.created_at ?? ""),
      );
      this.#known = [...page.jobs, ...older];
      if (!older.length) this.#cursor = page.cursor;
      this.#draw();
    } catch (error) {
      if (asked !== this.#asked) return;
      setText(byId("jobs-note"), error.message);
      this.refused(error);
    }
    this.#timer = setTimeout(() => this.#refresh(), AGAIN_MS);
  }

  async #more() {
    const page = await this.#page(this.#cursor).catch((error) => setText(byId("jobs-note"), error.message));
    if (!page) return;
    this.#known.push(...page.jobs);
    this.#cursor = page.cursor;
    this.#draw();
  }

  #page(cursor = "") {
    return jobs({ status: byId("filter-status").value, cursor: cursor ?? "", limit: PAGE, batch: this.#batch });
  }

  #draw() {
    const model = byId("filter-model").value;
    const words = byId("filter-text").value.trim().toLowerCase();
    const shown = this.#known.filter(
      (job) =>
        (!model || job.model === model) && (!words || (job.metadata?.prompt ?? "").toLowerCase().includes(words)),
    );
    const rows = new Map([...byId("job-rows").children].map((row) => [row.dataset.job, row]));
    byId("job-rows").replaceChildren(...shown.map((job) => same(rows.get(job.id), job) ?? rowOf(job)));
    byId("jobs-more").hidden = !this.#cursor;
    const filtered =
      shown.length < this.#known.length
        ? t("{n} of {m} loaded jobs match.", { n: shown.length, m: this.#known.length })
        : "";
    setText(byId("jobs-note"), this.#known.length ? filtered : t("No jobs yet."));
  }
}

const stateOf = ({ status, last_entry, attempt, queue_position }) =>
  [status, last_entry, attempt, queue_position].join();

const same = (row, job) => (row?.dataset.state === stateOf(job) ? row : null);

function rowOf(job) {
  const took = job.started_at && job.ended_at ? duration(Date.parse(job.ended_at) - Date.parse(job.started_at)) : "";
  const place = job.status === "queued" && job.queue_position !== null ? ` #${job.queue_position + 1}` : "";
  return element(
    "tr",
    { "data-job": job.id, "data-state": stateOf(job) },
    element(
      "td",
      {},
      element("span", { className: "chip-status", "data-status": job.status }, statusName(job.status) + place),
    ),
    element(
      "td",
      { className: "cell-prompt" },
      element("a", { href: hashOfJob(job.id), dir: "auto" }, job.metadata?.prompt || job.id),
    ),
    element("td", {}, job.model),
    element("td", {}, element("time", { dateTime: job.created_at }, moment(job.created_at))),
    element("td", { className: "number" }, took),
    element("td", { className: "number" }, counted(job.last_entry)),
  );
}
