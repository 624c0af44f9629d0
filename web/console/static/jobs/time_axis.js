/** Jobs over time: a bar for each, its wait and then its run, in as many rows as overlap. */

import { drawing } from "../dom.js";
import { statusName } from "../job/states.js";
import { duration, moment, t } from "../words.js";

const [ROW, BAR, TOP, LEAST_PX, TICK_PX] = [12, 8, 6, 3, 150];
const ROWS_AT_MOST = 14;
/** Steps between the marks of the axis, in seconds. */
const STEPS_S = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800];

/** `{ id, status, from, started, to }` in ms. `started` is the end where a job never began. */
export function spanOf(job, now) {
  const to = job.ended_at ? Date.parse(job.ended_at) : now;
  const started = job.started_at ? Date.parse(job.started_at) : to;
  return { id: job.id, status: job.status, from: Date.parse(job.created_at), started: Math.min(started, to), to };
}

/** Gives each span, oldest first, the first row that is free at its start. Spans beyond the last row are left out. */
export function rowsOf(spans, apart = 0, most = ROWS_AT_MOST) {
  const ends = [];
  return [...spans]
    .sort((a, b) => a.from - b.from)
    .map((span) => {
      const free = ends.findIndex((end) => end + apart <= span.from);
      const row = free < 0 ? ends.length : free;
      if (row < most) ends[row] = span.to;
      return { ...span, row };
    })
    .filter(({ row }) => row < most);
}

/** The times of the axis's marks. */
export function ticksOf(from, to, count) {
  const stepMs = 1000 * (STEPS_S.find((seconds) => (to - from) / 1000 / seconds <= count) ?? STEPS_S.at(-1));
  const first = Math.ceil(from / stepMs) * stepMs;
  return Array.from({ length: Math.max(0, Math.floor((to - first) / stepMs) + 1) }, (_, n) => first + n * stepMs);
}

/** Draws the jobs into an SVG with the width of its container. */
export function drawAxis(svg, jobs, { since = 0, now = Date.now() } = {}) {
  const width = svg.clientWidth || 720;
  const from = since || Math.min(now - 1000, ...jobs.map((job) => Date.parse(job.created_at)));
  const msPerPx = (now - from) / width;
  const x = (at) => (Math.max(from, at) - from) / msPerPx;
  const spans = rowsOf(jobs.map((job) => spanOf(job, now)), 2 * msPerPx);
  const bottom = TOP + ROW * Math.max(3, ...spans.map(({ row }) => row + 1));
  svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 22}`);
  svg.style.height = `${bottom + 22}px`;
  const marks = ticksOf(from, now, Math.max(2, Math.floor(width / TICK_PX))).map((at) => tick(x(at), bottom, at, width));
  svg.replaceChildren(...marks, ...spans.map((span) => barOf(span, x)));
  svg.setAttribute("aria-label", summary(jobs, from, now));
}

function tick(x, bottom, at, width) {
  const anchor = x < 40 ? "start" : x > width - 40 ? "end" : "middle";
  return drawing(
    "g",
    {},
    drawing("line", { x1: x, x2: x, y1: 0, y2: bottom, class: "rule" }),
    drawing("text", { x, y: bottom + 16, class: "axis", "text-anchor": anchor }, moment(at)),
  );
}

/** A click opens the job. The table has the links for the keyboard. */
function barOf({ id, status, from, started, to, row }, x) {
  const y = TOP + row * ROW;
  const piece = (begin, end, state) =>
    drawing("rect", { x: x(begin), y, width: Math.max(LEAST_PX, x(end) - x(begin)), height: BAR, rx: 2, "data-status": state });
  const waited = started > from ? [piece(from, started, "queued")] : [];
  const ran = status === "queued" ? [] : [piece(started, to, status)];
  const title = drawing("title", {}, `${id} · ${statusName(status)} · ${duration(Math.max(0, to - from))}`);
  return drawing("g", { class: "bar", "data-job": id }, title, ...waited, ...ran);
}

function summary(jobs, from, now) {
  const counts = Map.groupBy ? Map.groupBy(jobs, ({ status }) => status) : new Map();
  const said = [...counts].map(([status, some]) => `${statusName(status)}: ${some.length}`).join(", ");
  return t("{n} jobs from {from} to {to}. {counts}", { n: jobs.length, from: moment(from), to: moment(now), counts: said });
}
