/** The server's state, drawn live: its conditions, queues, workers, streams and models. */

import { metrics, models, readiness, version } from "../connection.js";
import { byId, element, setText } from "../dom.js";
import { drawLines } from "../job/charts.js";
import { reasonOf } from "../job/wait_text.js";
import { counted, duration, moment, t } from "../words.js";
import { factsOf, ratesOf } from "./system_facts.js";

const AGAIN_MS = 2000;
const KEPT = 150;
const MIB = 1024 * 1024;

export class SystemPage {
  #timer = 0;
  #shown = 0;
  #before = null;
  #series = { running: [], queued: [], submitted: [], ended: [] };

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
    this.#before = null;
  }

  async #look(shown) {
    try {
      const found = await Promise.all([readiness(), version(), models(), metrics()]);
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

  #draw(ready, { version: number }, { models: all }, text) {
    const isReady = ready.status === "ok";
    byId("system-state").dataset.ok = String(isReady);
    setText(
      byId("system-state"),
      isReady ? t("Spool {version} accepts jobs.", { version: number }) : (ready.detail ?? ready.title),
    );
    drawConditions(ready.checks ?? {});
    const facts = text === null ? null : factsOf(text);
    drawModels(all, facts);
    for (const name of ["system-tiles", "system-lines", "streams-card"]) byId(name).hidden = !facts;
    setText(byId("metrics-note"), facts ? "" : t("This key may not read the metrics."));
    if (facts) this.#drawFacts(facts);
  }

  #drawFacts(facts) {
    drawTiles(facts);
    drawStreams(facts.streams);
    const now = performance.now();
    const rates = this.#before && ratesOf(this.#before.counters, facts.counters, (now - this.#before.at) / 1000);
    this.#before = { counters: facts.counters, at: now };
    const { running, queued } = facts;
    for (const [name, value] of Object.entries({ running, queued, ...rates })) {
      if (this.#series[name]) this.#series[name] = [...this.#series[name], value].slice(-KEPT);
    }
    const { submitted, ended } = this.#series;
    drawLines(byId("queue-lines"), [
      { name: t("running"), status: "running", series: this.#series.running },
      { name: t("queued"), status: "queued", series: this.#series.queued },
    ]);
    drawLines(byId("rate-lines"), [
      { name: t("submitted"), status: "queued", series: submitted },
      { name: t("ended"), status: "succeeded", series: ended },
    ]);
  }
}

/** The texts of absent conditions. */
const FINE = {
  redis_away: () => t("Redis answers"),
  redis_unfit: () => t("Redis has every required feature"),
  no_live_worker: () => t("Workers are alive"),
  memory_over_watermark: () => t("Redis has free memory"),
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

function drawTiles({ running, queued, oldest, workers, slots, streams, memory, scheduled }) {
  const open = streams.reduce((sum, { value }) => sum + value, 0);
  const tiles = [
    [t("running"), counted(running), "running"],
    [t("queued"), counted(queued), "queued"],
    [t("longest wait"), oldest ? duration(oldest * 1000) : "–", ""],
    [t("workers"), counted(workers), workers ? "" : "failed"],
    [t("free slots"), partOf(counted(slots.free), counted(slots.all)), ""],
    [t("open streams"), counted(open), ""],
    [t("memory of Redis"), memoryOf(memory), ""],
    ...(scheduled ? [[t("scheduled"), counted(scheduled), ""]] : []),
  ];
  byId("system-tiles").replaceChildren(
    ...tiles.map(([name, value, status]) =>
      element("div", { className: "tile", "data-status": status }, element("dt", {}, name), element("dd", {}, ...[value].flat())),
    ),
  );
}

/** A figure, and below it what it is a part of: side by side they are wider than a tile. */
const partOf = (part, whole) => [part, element("span", { className: "under" }, t("of {n}", { n: whole }))];

const sizeOf = (bytes) =>
  bytes < 1024 * MIB ? `${counted(Math.round(bytes / MIB))} MiB` : `${counted(Math.round(bytes / MIB / 102.4) / 10)} GiB`;

const memoryOf = ({ used, max }) => (max ? partOf(sizeOf(used), sizeOf(max)) : sizeOf(used));

function drawModels(all, facts) {
  byId("model-rows").replaceChildren(...all.map((model) => modelRow(model, facts?.models.get(model.id ?? model.name))));
  byId("model-table").dataset.figures = String(Boolean(facts));
}

function modelRow({ name, id, backend, closed, limits }, figures) {
  const most = limits?.max_running ?? 0;
  const chip = element(
    "span",
    { className: "chip-status", "data-status": closed ? "failed" : "succeeded" },
    closed ? t("closed until {time}", { time: moment(closed.until) }) : t("open"),
  );
  const ages = Object.entries(figures?.oldest ?? {}).filter(([, age]) => age > 0);
  const waits = ages.map(([priority, age]) => `${PRIORITIES[priority]?.() ?? priority}: ${duration(age * 1000)}`);
  const why = (figures?.reasons ?? []).map((reason) => reasonOf({ waiting_for: { reason } }));
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, id ?? name, element("span", { className: "under" }, backend)),
    element("td", {}, chip, closed ? element("span", { className: "under" }, closed.reason) : ""),
    element("td", { className: "number" }, `${counted(figures?.running ?? 0)}${most ? ` / ${counted(most)}` : ""}`),
    element("td", { className: "number" }, counted(figures?.queued ?? 0)),
    element("td", {}, waits.join(", ") || "–", element("span", { className: "under" }, [...new Set(why)].join(" "))),
  );
}

const PRIORITIES = { interactive: () => t("interactive"), batch: () => t("batch") };

const MEDIA = { "text/event-stream": "SSE", "application/x-ndjson": "NDJSON", "text/plain": "text", websocket: "WebSocket" };

function drawStreams(streams) {
  const open = streams.filter(({ value }) => value);
  setText(byId("streams-note"), open.length ? "" : t("No stream is open."));
  const most = Math.max(1, ...open.map(({ value }) => value));
  byId("streams").replaceChildren(
    ...open.flatMap(({ name, value }) => {
      const bar = element("i", { "data-status": "running" });
      bar.style.width = `${(value / most) * 100}%`;
      return [element("dt", {}, MEDIA[name] ?? name), element("dd", {}, bar, element("span", {}, counted(value)))];
    }),
  );
}
