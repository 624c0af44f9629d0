/** `batches.follow()`: a batch's counts and the lines that end, through network failures. */

import { BatchLog } from "./batch_log.js";
import { ENDED, Follower, REFUSED, STOPPED } from "./follower.js";
import { Frames } from "./frames.js";
import { isRefusal } from "./errors.js";
import { Alarm, pause } from "./pause.js";
import { Slots } from "./slots.js";

/** The transports of a batch's log, best first. */
const LADDER = ["sse", "long", "short"];
const LEFT = new Set([REFUSED, STOPPED]);

export class BatchFollow {
  #abort = new AbortController();
  #alarm = new Alarm();
  #error = null;

  constructor(http, id, { from = 0, signal, transports = LADDER, throttleMs = 0, onEntry, onChange } = {}) {
    this.http = http;
    this.id = id;
    this.log = new BatchLog(from, (entry) => {
      onEntry?.(entry);
      this.frames.request();
    });
    this.frames = new Frames(() => onChange?.(this.view), throttleMs);
    const path = `/batches/${encodeURIComponent(id)}`;
    const slots = new Slots(http.origin);
    this.follower = new Follower({ http, path, log: this.log, transports, slots, changed: () => this.#changed() });
    signal?.addEventListener("abort", () => this.stop(), { once: true });
    if (signal?.aborted) return;
    this.follower.start();
    this.#refresh(path).catch((error) => this.#refuse(error));
  }

  /** Stop reading. The batch continues. */
  stop() {
    this.#abort.abort(new Error("stopped"));
    this.follower.stop();
    this.frames.cancel();
  }

  /** Request the record now, because a call has changed it. */
  refresh() {
    this.#alarm.ring();
  }

  /** The data for a user interface. `batch` is null until the first record. */
  get view() {
    const { log, follower } = this;
    const { connection, transport } = follower;
    const isRefused = connection === REFUSED;
    return Object.freeze({
      batch: log.batch && { ...log.batch, counts: log.counts },
      lastEntry: log.cursor,
      isEnded: log.isEnded,
      connection,
      transport,
      error: this.#error ?? (isRefused ? follower.error : null),
      trouble: isRefused ? null : follower.error,
    });
  }

  /** The log has the ends of lines. The record has the rest, and all of a batch without a log. */
  async #refresh(path) {
    const { signal } = this.#abort;
    const { pollMs, pollMostMs } = this.http.timing;
    for (let waitMs = pollMs, seen = ""; !LEFT.has(this.follower.connection); ) {
      const batch = await this.#look(path);
      if (signal.aborted || (batch?.ended && this.log.isEnded)) return;
      const counts = JSON.stringify(batch?.counts);
      waitMs = counts === seen ? Math.min(pollMostMs, waitMs * 1.25) : pollMs;
      seen = counts;
      await pause(waitMs, signal, this.#alarm);
    }
  }

  async #look(path) {
    const { signal } = this.#abort;
    try {
      const batch = await this.http.json(path, { signal, timeoutMs: this.http.timing.lookMs });
      this.log.record(batch);
      this.frames.request();
      return batch;
    } catch (error) {
      if (signal.aborted || !isRefusal(error)) return null;
      throw error;
    }
  }

  #refuse(error) {
    this.#error = error;
    this.follower.stop();
    this.frames.request();
  }

  #changed() {
    if (this.follower.connection === ENDED) this.#alarm.ring();
    this.frames.request();
  }
}
