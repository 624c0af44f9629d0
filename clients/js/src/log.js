/** One job's log as this reader has it: the cursor, the state, and what the record adds. Nothing is counted twice. */

import { apply, applySnapshot, isEnd, isTerminal, newState } from "./state.js";

export class JobLog {
  /** `tell(document)` gets every entry once and in order, and the messages `gap`, `snapshot`, `queued`, `notice`. */
  constructor(state, tell) {
    this.state = state;
    this.tell = tell;
    this.job = null;
    this.isEnded = false;
  }

  get cursor() {
    return this.state.cursor;
  }

  /** One document of a stream. Returns whether it was a new entry. */
  document(document) {
    if (document.kind) return this.#entry(document);
    if (document.type === "gap") this.#gap(document);
    else if (document.type === "snapshot") this.snapshot(document);
    else if (document.type === "queued") return this.#queued(document);
    else if (document.type === "notice") this.state.notice = document;
    else return false;
    if (document.type !== "snapshot") this.tell(document);
    return false;
  }

  /** The text that counts, in one piece. Ignored if this reader has all of it. */
  snapshot(document, isMissing = false) {
    if (document.last < this.cursor || (document.last === this.cursor && !isMissing)) return;
    applySnapshot(this.state, document);
    this.tell({ type: "snapshot", ...document });
  }

  /** Whether this record is of an ended job. */
  isOver(job) {
    return isEnd(job.status);
  }

  /** The job's record. It has fields that no entry has, and the status while the log is silent. */
  record(job) {
    const { text, ...rest } = job;
    this.job = { ...rest, text: isEnd(job.status) ? text : undefined };
    // Only if the record is as new as the log: for example, the worker died and the job waits for another.
    if (!this.isEnded && !isEnd(job.status) && job.last_entry <= this.cursor) this.state.status = job.status;
    if (job.status !== "queued") this.state.queue = null;
    else if (this.state.queue?.type !== "queued") {
      const { queue_position: position, position_is, estimated_start_at, waiting_for } = job;
      this.state.queue = { position, position_is, estimated_start_at, waiting_for };
    }
  }

  /** The record as the only source: its text so far, and its end. */
  plain(job) {
    if (isEnd(job.status)) return this.finish(job);
    this.record(job);
    this.adopt(job);
    if (job.started_at) this.state.status = job.status;
  }

  /** End by the record: the log itself has nothing more for this reader. */
  finish(job) {
    this.record(job);
    if (job.last_entry > this.cursor || this.state.incomplete) this.adopt(job);
    Object.assign(this.state, { status: job.status, failure: job.error, finishReason: job.finish_reason ?? null });
    if (job.usage) this.state.usage = job.usage;
    this.isEnded = true;
  }

  /** Take the text from the record, as a snapshot. */
  adopt(job) {
    const last = Math.max(job.last_entry, this.cursor);
    this.snapshot({ last, text: job.text, attempt: job.attempt }, this.state.incomplete);
  }

  /** Start again from entry 0, if the log is not that of the stored state. */
  forget() {
    Object.assign(this.state, newState());
  }

  #entry(entry) {
    if (entry.id <= this.cursor) return false;
    apply(this.state, entry);
    this.isEnded = isTerminal(entry);
    this.tell(entry);
    return true;
  }

  /** Why the job waits. Every poll repeats it; only changes are passed on. */
  #queued(document) {
    const isSame = JSON.stringify(document) === JSON.stringify(this.state.queue);
    this.state.queue = document;
    if (!isSame) this.tell(document);
    return false;
  }

  #gap({ requested, earliest, latest }) {
    const next = earliest ?? (latest !== null && latest <= this.cursor ? latest : requested);
    this.state.cursor = next - 1;
    this.state.incomplete = true;
  }
}
