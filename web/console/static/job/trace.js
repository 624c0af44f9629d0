/** The entries that one reader received, with their connections and times. Uses no document and no network. */

const GAP_BOUNDS_MS = [10, 20, 50, 100, 200, 500, 1000];
const KEPT = 20_000;
const RATE_OVER_MS = 2000;
const BUCKET_MS = 500;
const BUCKETS = 60;
const TEXT = new Set(["token", "reasoning"]);

export class Trace {
  /** The entries, for the raw log and the tape; at most KEPT. */
  entries = [];
  last = 0;
  irregular = 0;
  tokens = 0;
  firstTokenAt = 0;
  lastTokenAt = 0;
  startedAt = 0;
  endedAt = 0;
  /** Entries by connection: `{ transport, connection, from, to }`. */
  stretches = [];
  /** The starts of later attempts: `{ kind, attempt, reason, at, offset }`, the offset into the text. */
  marks = [];
  /** Events for the timeline: `{ at, kind, ... }`. */
  events = [];
  gaps = new Array(GAP_BOUNDS_MS.length + 1).fill(0);
  #buckets = new Map();
  #heardAt = 0;
  #length = 0;

  constructor(now = () => performance.now()) {
    this.now = now;
  }

  /** Adds an entry that arrived over connection number `connection` of `transport`. */
  add(entry, transport, connection) {
    if (entry.id <= this.last) {
      this.irregular += 1;
      return;
    }
    // `restarted` may skip ids: Redis lost entries, and the log records that.
    if (entry.id > this.last + 1 && entry.kind !== "restarted") this.irregular += entry.id - this.last - 1;
    this.last = entry.id;
    this.#stretch(entry.id, transport, connection);
    if (this.entries.length < KEPT) this.entries.push(entry);
    const at = Date.parse(entry.at);
    if (TEXT.has(entry.kind)) this.#text(entry, at);
    else this.#event(entry, at);
  }

  /** Entries per second by the log's clock; 0 after a pause, and the mean once the job has ended. */
  get rate() {
    if (this.endedAt) return this.#mean();
    if (this.now() - this.#heardAt > RATE_OVER_MS) return 0;
    const first = Math.floor(this.lastTokenAt / BUCKET_MS);
    const whole = [1, 2, 3, 4].map((back) => this.#buckets.get(first - back)).filter((count) => count !== undefined);
    if (!whole.length) return this.#buckets.get(first) ?? 0;
    return (whole.reduce((sum, count) => sum + count, 0) / whole.length) * (1000 / BUCKET_MS);
  }

  /** Entries per second in each of the last buckets, oldest first. */
  get series() {
    const last = Math.floor(this.lastTokenAt / BUCKET_MS);
    const first = Math.max(Math.floor(this.firstTokenAt / BUCKET_MS), last - BUCKETS);
    return Array.from(
      { length: Math.max(0, last - first) },
      (_, n) => ((this.#buckets.get(first + n) ?? 0) * 1000) / BUCKET_MS,
    );
  }

  #mean() {
    const ms = this.lastTokenAt - this.firstTokenAt;
    return ms > 0 ? ((this.tokens - 1) * 1000) / ms : 0;
  }

  #text({ kind, text }, at) {
    this.#heardAt = this.now();
    if (this.tokens) this.#gap(at - this.lastTokenAt);
    this.firstTokenAt ||= at;
    this.lastTokenAt = at;
    this.tokens += 1;
    if (kind === "token") this.#length += text.length;
    const bucket = Math.floor(at / BUCKET_MS);
    this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + 1);
    if (this.#buckets.size > 2 * BUCKETS) this.#buckets.delete(this.#buckets.keys().next().value);
  }

  #gap(ms) {
    const place = GAP_BOUNDS_MS.findIndex((bound) => ms < bound);
    this.gaps[place < 0 ? GAP_BOUNDS_MS.length : place] += 1;
  }

  #event(entry, at) {
    const { kind, attempt, reason } = entry;
    if (kind === "started") this.startedAt = at;
    if (kind === "restarted") {
      this.#length = 0;
      this.marks = [{ kind, attempt, reason, at, offset: 0 }];
    }
    if (kind === "continued") this.marks.push({ kind, attempt, reason, at, offset: this.#length });
    if (["done", "failed", "cancelled"].includes(kind)) this.endedAt = at;
    if (kind !== "tool_call" && kind !== "usage") this.events.push({ ...entry, at });
  }

  #stretch(id, transport, connection) {
    const last = this.stretches.at(-1);
    if (last?.connection === connection && last.transport === transport) last.to = id;
    else this.stretches.push({ transport, connection, from: id, to: id });
  }
}

/** The upper bounds of the gaps' counts in ms; the last count has none. */
export { GAP_BOUNDS_MS };
