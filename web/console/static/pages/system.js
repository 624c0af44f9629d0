/** The server's state, drawn live: its conditions, open streams, models, and the caller's jobs. */

import { jobs, metrics, models, readiness, version } from "../connection.js";
import { byId, element, setText } from "../dom.js";
import { statusName } from "../job/card.js";
import { drawLine } from "../job/charts.js";
import { counted, moment, t } from "../words.js";

const AGAIN_MS = 2000;
const KEPT = 150;
const LISTED = 200;
const SAMPLE = /^(\w+)(?:\{(.*)\})? ([0-9.eE+-]+)$/gm;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export class SystemPage {
  #timer = 0;
  #shown = 0;
  #running = [];

  constructor({ refused }) {
    this.refused = refused;
  }

  show() {
    document.title = `${t("System")} · Spool`;
    this.leave();
    this.#look(this.#shown);
  }

  leave() {
    clearTimeout(this.#timer);
    this.#shown += 1;
  }

  async #look(shown) {
    try {
      const found = await Promise.all([
        readiness(),
        version(),
        models(),
        metrics(),
        jobs({ status: "queued", limit: LISTED }),
        jobs({ status: "running", limit: LISTED }),
      ]);
      if (shown !== this.#shown) return;
      this.#draw(...found);
    } catch (error) {
      if (shown !== this.#shown) return;
      setText(byId("system-state"), t("The server does not answer: {message}", { message: error.message }));
      byId("system-state").dataset.ok = "false";
      if (error.status) this.refused(error);
    }
    this.#timer = setTimeout(() => this.#look(shown), AGAIN_MS);
  }

  #draw(ready, { version: number }, { models: all }, text, { jobs: queued }, { jobs: running }) {
    const isReady = ready.status === "ok";
    byId("system-state").dataset.ok = String(isReady);
    setText(
      byId("system-state"),
      isReady ? t("Spool {version} takes jobs.", { version: number }) : (ready.detail ?? ready.title),
    );
    drawConditions(ready.checks ?? {});
    drawModels(all);
    drawStreams(text);
    this.#drawQueue(all, queued, running);
  }

  #drawQueue(all, queued, running) {
    const count = (list, { name, id }) => list.filter(({ model }) => model === (id ?? name)).length;
    const more = (list) => (list.length === LISTED ? "+" : "");
    meters(
      byId("queue"),
      all.flatMap((model) => [
        [`${model.id ?? model.name}: ${statusName("running")}`, count(running, model), "running", more(running)],
        [`${model.id ?? model.name}: ${statusName("queued")}`, count(queued, model), "queued", more(queued)],
      ]),
    );
    this.#running = [...this.#running, running.length].slice(-KEPT);
    drawLine(byId("queue-line"), this.#running);
  }
}

/** What holds while a condition is absent. */
const FINE = {
  redis_away: () => t("Redis answers"),
  redis_unfit: () => t("Redis has all that is needed"),
  no_live_worker: () => t("Workers are alive"),
  memory_over_watermark: () => t("Redis has memory left"),
  persistence_off: () => t("Redis keeps its data on disk"),
  persistence_failing: () => t("Redis can write to its disk"),
  eviction_possible: () => t("Redis evicts nothing"),
  permission_missing: () => t("Redis permits every command"),
};

function drawConditions(checks) {
  const found = Object.entries(checks).sort(([, a], [, b]) => a.ok - b.ok);
  byId("conditions").replaceChildren(
    ...found.map(([name, { ok, message }]) =>
      element("li", { "data-ok": String(ok) }, ok ? (FINE[name]?.() ?? `${name}: ${t("no")}`) : (message ?? name)),
    ),
  );
}

function drawModels(all) {
  byId("models").replaceChildren(
    ...all.map(({ name, id, backend, closed, limits }) => {
      const says = closed
        ? `${t("closed until {time}", { time: moment(closed.until) })}: ${closed.reason}`
        : [t("open"), backend, limits?.max_running ? t("at most {n} run", { n: limits.max_running }) : ""]
            .filter(Boolean)
            .join(" · ");
      return element("li", { "data-ok": String(!closed) }, element("strong", {}, id ?? name), ` ${says}`);
    }),
  );
}

function drawStreams(text) {
  setText(byId("streams-note"), text === null ? t("This key may not read the metrics.") : "");
  if (text === null) return;
  const open = samples(text).filter(({ name }) => name === "spool_streams");
  meters(
    byId("streams"),
    open.map(({ labels, value }) => [Object.values(labels).join(" "), value, "running", ""]),
  );
  if (!open.some(({ value }) => value)) setText(byId("streams-note"), t("No stream is open."));
}

/** The samples of a Prometheus text: `[{ name, labels, value }]`. */
export function samples(text) {
  return [...text.matchAll(SAMPLE)].map(([, name, labels = "", value]) => ({
    name,
    labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, said]) => [key, said])),
    value: Number(value),
  }));
}

/** Draws `[name, value, status, mark]` as bars beside their names. */
function meters(box, rows) {
  const most = Math.max(1, ...rows.map(([, value]) => value));
  box.replaceChildren(
    ...rows.flatMap(([name, value, status, mark]) => {
      const bar = element("i", { "data-status": status });
      bar.style.width = `${(value / most) * 100}%`;
      return [element("dt", {}, name), element("dd", {}, bar, element("span", {}, counted(value) + mark))];
    }),
  );
}
