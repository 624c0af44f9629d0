/**
 * One connection over one transport, watched: it must show activity in time, and the job's record must not be
 * ahead of it.
 *
 * Heartbeats do not prove that entries arrive, and a dead connection looks like a quiet one. The record shows it: a
 * `last_entry` beyond the cursor, seen twice while nothing came, means a stream that is dead or held back.
 */

import { isRefusal, SpoolError } from "./errors.js";
import { pause } from "./pause.js";

/** The end of a connection: `how`, and the number of entries that it delivered. */
export const CLOSED = "closed";
export const FAILED = "failed";
/** The record answers and the stream does not. */
export const HELD_BACK = "held back";
/** Neither answers. */
export const SILENT = "silent";
/** Left for another transport. */
export const LEFT = "left";

export class Attempt {
  brought = 0;
  hasOpened = false;
  #heardAt = performance.now();
  #verdict = null;

  /**
   * `look()` resolves to the record, or null if it cannot be read; it throws the server's refusal. `left` is a signal
   * to leave.
   */
  constructor({ transport, http, path, log, look, alarm, onOpen, onFirstEntry, leaveInMs = Infinity, left }) {
    Object.assign(this, { transport, http, path, log, look, alarm, onOpen, onFirstEntry, leaveInMs, left });
    this.timing = http.timing;
  }

  /** Read until the end: `{ how, brought, hasOpened, error, retryMs }`. Throws only the reason of `signal`. */
  async run(signal) {
    const abort = new AbortController();
    const end = (how, error = null) => {
      this.#verdict ??= { how, error };
      abort.abort(new Error(how));
    };
    const stop = () => abort.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    const leave = () => end(LEFT);
    this.left?.addEventListener("abort", leave, { once: true });
    const timer = this.leaveInMs < 2 ** 31 ? setTimeout(() => end(LEFT), this.leaveInMs) : null;
    if (this.transport.isStream || this.transport.extraMs) this.#watch(abort.signal, end);
    const outcome = await this.#read(abort.signal);
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    this.left?.removeEventListener("abort", leave);
    abort.abort();
    if (signal.aborted) throw signal.reason;
    const { brought, hasOpened } = this;
    return { retryMs: 0, error: null, ...outcome, ...this.#verdict, brought, hasOpened };
  }

  async #read(signal) {
    const { http, path, log, alarm } = this;
    const sink = {
      alarm,
      opened: () => this.#open(),
      document: (document) => this.#document(document, signal),
      record: (job) => signal.aborted || log.plain(job),
    };
    try {
      return { how: CLOSED, ...(await this.transport.read({ http, path, after: log.cursor, signal, sink })) };
    } catch (error) {
      return { how: FAILED, error };
    }
  }

  #open() {
    if (this.hasOpened) return;
    this.hasOpened = true;
    this.onOpen();
  }

  #document(document, signal) {
    // An abandoned transport may still deliver entries.
    if (signal.aborted) return;
    if (document.type === "unavailable") {
      this.#verdict = { how: FAILED, error: new SpoolError(document.detail, { status: 503, problem: document }) };
      return;
    }
    this.#open();
    this.#heardAt = performance.now();
    if (this.log.document(document) && (this.brought += 1) === 1) this.onFirstEntry();
  }

  async #watch(signal, end) {
    const { timing } = this;
    const firstMs = timing.firstBytesMs + (this.transport.extraMs ?? 0);
    await pause(firstMs, signal);
    if (!this.hasOpened && !signal.aborted) {
      const record = await this.#tryLook(end);
      if (!this.hasOpened) end(record ? HELD_BACK : SILENT);
    }
    let quietMs = timing.quietMs;
    while (!signal.aborted) {
      await pause(Math.max(0, this.#heardAt + quietMs - performance.now()), signal, this.alarm);
      if (signal.aborted || performance.now() < this.#heardAt + quietMs * 0.1) continue;
      quietMs = await this.#compare(signal, end, quietMs);
    }
  }

  /** Two looks; the pause until the next pair. */
  async #compare(signal, end, quietMs) {
    const { log, timing } = this;
    for (let looks = 1; ; looks += 1) {
      const { cursor } = log;
      const record = await this.#tryLook(end);
      if (signal.aborted || log.cursor > cursor) return timing.quietMs;
      if (record && record.last_entry <= log.cursor) {
        this.#heardAt = performance.now();
        // The place in the queue is shown from these looks.
        return record.status === "queued" ? timing.quietMs : Math.min(timing.quietMostMs, quietMs * 1.5);
      }
      if (looks === 2) {
        end(record ? HELD_BACK : SILENT);
        return quietMs;
      }
      await pause(timing.secondLookMs, signal);
    }
  }

  async #tryLook(end) {
    try {
      return await this.look();
    } catch (error) {
      if (isRefusal(error)) end(FAILED, error);
      return null;
    }
  }
}
