/** The caller's jobs as a list and over time, live by the server's events, filtered. */

import { hashOfJob } from "../address.js";
import { client, jobs, models } from "../connection.js";
import { byId, element, setText } from "../dom.js";
import { connectionName, statusName } from "../job/states.js";
import { fill, filter, onFilter, sinceMs } from "../jobs/filter.js";
import { LiveList } from "../jobs/live_list.js";
import { matches } from "../jobs/matching.js";
import { drawAxis } from "../jobs/time_axis.js";
import { counted, duration, moment, t } from "../words.js";

const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];
const AXIS_EVERY_MS = 1000;
const TYPED_MS = 400;

export class JobsPage {
  #batch = "";
  #frame = 0;
  #timer = 0;
  #typing = 0;

  constructor({ refused }) {
    this.refused = refused;
    const source = { events: (options) => client().events(options), jobs };
    this.list = new LiveList(source, {
      changed: () => this.#schedule(),
      failed: (error) => this.refused(error),
      connection: (state) => this.#connection(state),
    });
    byId("filter-status").append(
      element("option", { value: "" }, t("all")),
      ...STATES.map((status) => element("option", { value: status }, statusName(status))),
    );
    onFilter((name) => this.#filtered(name));
    byId("job-filter").addEventListener("submit", (event) => event.preventDefault());
    byId("jobs-more").addEventListener("click", () => this.list.more());
    byId("jobs-axis").addEventListener("click", ({ target }) => {
      const bar = target.closest("[data-job]");
      if (bar) location.hash = hashOfJob(bar.dataset.job);
    });
    addEventListener("resize", () => this.#schedule());
  }

  async show({ query }) {
    document.title = `${t("Jobs")} · Spool`;
    this.leave();
    this.#batch = query.get("batch") ?? "";
    fill(query);
    this.#open();
    this.#timer = setInterval(() => this.#schedule(), AXIS_EVERY_MS);
    const { models: all } = await models().catch(() => ({ models: [] }));
    const names = all.map(({ name, id }) => id ?? name);
    byId("filter-model").replaceChildren(
      element("option", { value: "" }, t("all")),
      ...names.map((name) => element("option", { value: name, selected: name === query.get("model") }, name)),
    );
    this.#schedule();
  }

  leave() {
    clearInterval(this.#timer);
    clearTimeout(this.#typing);
    this.list.close();
  }

  #open() {
    const wanted = filter();
    const { status, model, metadata } = wanted;
    this.list.open({ status, model, metadata, batch: this.#batch, since: sinceMs(wanted) });
  }

  #filtered(name) {
    clearTimeout(this.#typing);
    // The server filters by everything except the words. The pause avoids a request for each typed letter.
    if (name === "metadata") this.#typing = setTimeout(() => this.#open(), TYPED_MS);
    else if (name !== "words") this.#open();
    this.#schedule();
    const values = Object.entries({ ...filter(), batch: this.#batch }).filter(([, value]) => value);
    const query = new URLSearchParams(values);
    history.replaceState(null, "", `#/jobs${query.size ? `?${query}` : ""}`);
  }

  #connection(state) {
    const shown = byId("jobs-connection");
    shown.dataset.connection = state;
    setText(shown, state === "live" ? t("live") : connectionName(state));
  }

  #schedule() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (!byId("page-jobs").hidden) this.#draw();
    });
  }

  #draw() {
    const wanted = { ...filter(), since: sinceMs(filter()) };
    const known = this.list.jobs;
    const shown = known.filter((job) => matches(job, wanted));
    const rows = new Map([...byId("job-rows").children].map((row) => [row.dataset.job, row]));
    const next = shown.map((job) => same(rows.get(job.id), job) ?? rowOf(job));
    // Rows that stay keep the focus.
    if (next.length !== byId("job-rows").children.length || next.some((row, n) => byId("job-rows").children[n] !== row))
      replaceRows(byId("job-rows"), next);
    byId("jobs-axis-card").hidden = !shown.length;
    if (shown.length) drawAxis(byId("jobs-axis"), shown, { since: wanted.since });
    byId("jobs-more").hidden = !this.list.hasMore;
    setText(byId("jobs-note"), this.list.problem?.message ?? this.#note(wanted, shown.length, known.length));
  }

  #note({ status, model, metadata }, shown, known) {
    if (shown < known) return t("{n} of {m} loaded jobs match.", { n: shown, m: known });
    if (known || !this.list.isRead) return "";
    return status || model || metadata || this.#batch ? t("No job matches.") : t("No jobs yet.");
  }
}

/** The new rows; the focus stays on the job that has it, also if its row is drawn again. */
function replaceRows(body, rows) {
  const focused = body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.job : "";
  body.replaceChildren(...rows);
  if (focused) rows.find((row) => row.dataset.job === focused)?.querySelector("a").focus();
}

const stateOf = ({ status, last_entry, attempt, queue_position, cancel_requested_at, ended_at, metadata }) =>
  [status, last_entry, attempt, queue_position, cancel_requested_at, ended_at, metadata?.prompt].join();

const same = (row, job) => (row?.dataset.state === stateOf(job) ? row : null);

function rowOf(job) {
  const took = job.started_at && job.ended_at ? duration(Date.parse(job.ended_at) - Date.parse(job.started_at)) : "";
  const place = job.status === "queued" && job.queue_position !== null ? ` #${job.queue_position + 1}` : "";
  const state = job.status === "running" && job.cancel_requested_at ? t("cancelling") : statusName(job.status) + place;
  return element(
    "tr",
    { "data-job": job.id, "data-state": stateOf(job) },
    element("td", {}, element("span", { className: "chip-status", "data-status": job.status }, state)),
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
