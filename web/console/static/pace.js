/** The rate of entries by the log's own clock, so a replay shows the same rate. */

const BUCKET_MS = 500;
const BUCKETS = 40;
const [WIDTH, HEIGHT] = [120, 28];

export class Pace {
  #counts = new Map();
  #last = 0;

  add(entry) {
    this.#last = Math.floor(Date.parse(entry.at) / BUCKET_MS);
    this.#counts.set(this.#last, (this.#counts.get(this.#last) || 0) + 1);
    if (this.#counts.size > 4 * BUCKETS) this.#counts.delete(this.#counts.keys().next().value);
  }

  /** Entries per second in each of the last whole buckets, oldest first. */
  series() {
    const first = this.#counts.keys().next().value ?? this.#last;
    const from = Math.max(first, this.#last - BUCKETS);
    return Array.from({ length: this.#last - from }, (_, n) => ((this.#counts.get(from + n) || 0) * 1000) / BUCKET_MS);
  }

  /** Entries per second, over at most the last two whole seconds. */
  get perSecond() {
    const whole = [1, 2, 3, 4].map((back) => this.#counts.get(this.#last - back)).filter((n) => n !== undefined);
    if (!whole.length) return this.#counts.get(this.#last) || 0;
    return (whole.reduce((sum, n) => sum + n, 0) / whole.length) * (1000 / BUCKET_MS);
  }
}

/** Draw a series as an SVG polyline. */
export function drawSparkline(svg, series) {
  const top = Math.max(1, ...series);
  const point = (value, n) =>
    `${((n / Math.max(1, series.length - 1)) * WIDTH).toFixed(1)},${(HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1)}`;
  svg.querySelector("polyline").setAttribute("points", series.map(point).join(" "));
}
