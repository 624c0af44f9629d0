/** Small drawings of numbers: a line over time, the gaps between tokens, the connections of a reader. */

import { drawing, element, setText } from "../dom.js";
import { counted, t } from "../words.js";
import { GAP_BOUNDS_MS } from "./trace.js";
import { nameOf } from "./transports.js";

const [WIDTH, HEIGHT] = [160, 36];

/** Draws a series as the only polyline of an SVG. */
export function drawLine(svg, series) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  if (!svg.firstElementChild) svg.append(drawing("polyline"));
  svg.firstElementChild.setAttribute("points", pointsOf(series, Math.max(1e-9, ...series)));
}

const boundText = (ms) => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);
const GAP_NAMES = [...GAP_BOUNDS_MS.map((ms) => `< ${boundText(ms)}`), `≥ ${boundText(GAP_BOUNDS_MS.at(-1))}`];

/** Draws the counts of the gaps between tokens as bars, and describes them as text. */
export function drawGaps(box, counts) {
  const most = Math.max(1, ...counts);
  if (!box.children.length) {
    box.append(
      ...GAP_NAMES.map((name) => element("div", { className: "gap" }, element("i"), element("span", {}, name))),
    );
  }
  counts.forEach((count, n) => {
    const bar = box.children[n].firstElementChild;
    bar.style.height = count ? `${Math.max(6, (count / most) * 100)}%` : "0";
    box.children[n].title = `${GAP_NAMES[n]}: ${counted(count)}`;
  });
  const said = counts.map((count, n) => (count ? `${GAP_NAMES[n]}: ${count}` : "")).filter(Boolean);
  box.setAttribute("aria-label", `${t("Gaps between tokens")}: ${said.join(", ") || t("none yet")}`);
}

/** The connections that brought the entries, as one bar up to the log's last entry. */
export class ThreadView {
  #drawn = "";

  constructor(target) {
    this.target = target;
  }

  /** `last`: the last entry of the log as far as it is known. */
  draw(stretches, last) {
    const drawn = JSON.stringify([stretches, last]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const read = stretches.at(-1)?.to ?? 0;
    const nodes = stretches.map(stretchOf);
    if (last > read) nodes.push(widthOf(element("span", { className: "unread" }), last - read));
    this.target.replaceChildren(...nodes);
    this.target.setAttribute("aria-label", stretches.map(words).join("; ") || t("No entries read yet"));
  }
}

const words = ({ transport, from, to }) =>
  t("{transport}: entries {from} to {to}", { transport: nameOf(transport), from, to });

function stretchOf(stretch) {
  const made = element("span", { className: "stretch", title: words(stretch), "data-transport": stretch.transport });
  return widthOf(made, stretch.to - stretch.from + 1);
}

function widthOf(node, entries) {
  node.style.flexGrow = String(entries);
  return node;
}

/** Parts of a whole as one bar: `[{ name, count, status }]`, the rest empty. */
export function drawParts(box, parts, total) {
  const shown = parts.filter(({ count }) => count > 0);
  box.replaceChildren(
    ...shown.map(({ name, count, status }) =>
      widthOf(
        element("span", { className: "part", title: `${name}: ${counted(count)}`, "data-status": status }),
        count,
      ),
    ),
  );
  const rest = total - shown.reduce((sum, { count }) => sum + count, 0);
  if (rest > 0) box.append(widthOf(element("span", { className: "unread" }), rest));
  box.setAttribute("aria-label", shown.map(({ name, count }) => `${name}: ${count}`).join(", ") || t("none yet"));
}

/** Draws series over the same time as lines with a legend: `[{ name, status, series }]`. All share one scale. */
export function drawLines(box, lines) {
  if (!box.children.length) {
    const svg = drawing("svg", { class: "lines", preserveAspectRatio: "none", "aria-hidden": "true" });
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.append(...lines.map(({ status }) => drawing("polyline", { "data-status": status })));
    box.append(svg, element("ul", { className: "legend" }, ...lines.map(({ status }) => element("li", { "data-status": status }))));
  }
  const [svg, legend] = box.children;
  const top = Math.max(1e-9, ...lines.flatMap(({ series }) => series));
  lines.forEach(({ name, series }, n) => {
    svg.children[n].setAttribute("points", pointsOf(series, top));
    const now = series.at(-1) ?? 0;
    setText(legend.children[n], `${name}: ${counted(now < 10 ? Math.round(now * 10) / 10 : Math.round(now))}`);
  });
}

function pointsOf(series, top) {
  const x = (n) => ((n / Math.max(1, series.length - 1)) * WIDTH).toFixed(1);
  const y = (value) => (HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1);
  return series.map((value, n) => `${x(n)},${y(value)}`).join(" ");
}

const [DAYS_WIDTH, DAYS_HEIGHT] = [720, 180];
/** Has the width of its container, so that its text has the page's size. */
const widthIn = (svg) => svg.clientWidth || DAYS_WIDTH;

/** Draws days as stacked bars: `[{ day, parts: [{ name, value, colour }] }]`. The highest value is beside its line. */
export function drawDays(svg, days) {
  const sums = days.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0));
  const top = Math.max(1, ...sums);
  const all = widthIn(svg);
  const step = all / Math.max(1, days.length);
  svg.setAttribute("viewBox", `0 0 ${all} ${DAYS_HEIGHT + 22}`);
  svg.replaceChildren(
    drawing("text", { x: 0, y: 11, class: "axis" }, counted(Math.round(top))),
    drawing("line", { x1: 0, x2: all, y1: 16, y2: 16, class: "rule" }),
    drawing("line", { x1: 0, x2: all, y1: DAYS_HEIGHT, y2: DAYS_HEIGHT, class: "rule" }),
    ...days.map((day, n) => barOf(day, n * step, step, top)),
    drawing("text", { x: 0, y: DAYS_HEIGHT + 17, class: "axis" }, days[0]?.day ?? ""),
    drawing("text", { x: all, y: DAYS_HEIGHT + 17, class: "axis", "text-anchor": "end" }, days.at(-1)?.day ?? ""),
  );
  const said = days.map(({ day }, n) => (sums[n] ? `${day}: ${counted(Math.round(sums[n]))}` : "")).filter(Boolean);
  svg.setAttribute("aria-label", said.join(", ") || t("none yet"));
}

function barOf({ day, parts }, x, step, top) {
  let below = DAYS_HEIGHT;
  const width = Math.min(46, Math.max(1.5, step * 0.72));
  const drawn = parts.filter(({ value }) => value > 0).map(({ name, value, colour }) => {
    const height = Math.max(1.5, (value / top) * (DAYS_HEIGHT - 18));
    below -= height;
    const title = drawing("title", {}, `${day} · ${name}: ${counted(Math.round(value))}`);
    const place = { x: x + (step - width) / 2, y: below, width, height, rx: 2 };
    return drawing("rect", { ...place, "data-colour": colour }, title);
  });
  return drawing("g", {}, ...drawn);
}
