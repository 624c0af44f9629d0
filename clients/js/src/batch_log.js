/** One batch's log as this reader has it: the cursor, and the counts. No line is counted twice. */

const TERMINAL = new Set(["done", "failed", "cancelled"]);

export class BatchLog {
  /** The latest record. */
  batch = null;
  isEnded = false;
  /** Lines that have ended since that record. */
  #since = [];

  /** `tell(entry)` gets every line once and in order. */
  constructor(after, tell) {
    this.state = { cursor: after, incomplete: false };
    this.tell = tell;
  }

  get cursor() {
    return this.state.cursor;
  }

  /** The lines in each state: of the record, plus the lines that have ended since. */
  get counts() {
    const counts = { ...this.batch?.counts };
    for (const { status } of this.#since) {
      const from = counts.running ? "running" : "queued";
      counts[from] = Math.max(0, (counts[from] ?? 0) - 1);
      counts[status] = (counts[status] ?? 0) + 1;
    }
    return counts;
  }

  /** One document of a stream. Returns whether it was a new entry. */
  document(document) {
    if (!document.kind || document.id <= this.cursor) return false;
    this.state.cursor = document.id;
    if (TERMINAL.has(document.kind)) this.isEnded = true;
    else if (document.kind === "line") this.#line(document);
    return true;
  }

  /** Whether this record is of an ended batch. */
  isOver(batch) {
    return batch.ended;
  }

  /** Takes a record. An older one is ignored. */
  record(batch) {
    if (this.batch && batch.last_entry < this.batch.last_entry) return;
    this.batch = batch;
    this.#since = this.#since.filter(({ id }) => id > batch.last_entry);
  }

  /** End by the record: the log has nothing more for this reader. */
  finish(batch) {
    this.record(batch);
    this.isEnded = true;
  }

  #line(entry) {
    if (entry.id > (this.batch?.last_entry ?? 0)) this.#since.push({ id: entry.id, status: entry.status });
    this.tell(entry);
  }
}
