/**
 * Follows one job's log over any transport, across any number of connections.
 *
 * Its only state is the cursor, the id of the last entry. A new reader on any transport continues after it. The follower
 * checks the ids of the entries: it drops duplicates, and counts duplicate and missing entries.
 */

import { job as lookUp, pause } from "./api.js";
import { isTerminal } from "./job_state.js";
import { TRANSPORTS } from "./readers.js";

const CUT_MS = 1500;
const BACKOFF_MS = [300, 600, 1200, 2500, 5000, 10_000];
const FINAL = new Set([400, 401, 403, 404, 410]);

export class Follower {
  /** `tell`: `entry(entry)`, `notice(document)`, `changed()` and `refused(problem)`. */
  constructor(jobId, transport, tell) {
    this.jobId = jobId;
    this.transport = transport;
    this.cursor = 0;
    this.connection = "connecting";
    this.reconnects = 0;
    this.irregular = 0;
    this.note = "";
    /** The entries of each connection: `{ transport, from, to }`; `from` is 0 until the first entry. */
    this.stretches = [];
    this.tell = tell;
    this.failures = 0;
    this.nothingLeft = false;
    this.number = 0;
  }

  start() {
    this.#attach();
  }

  /** Continues over another transport, after the last entry of this one. */
  switchTo(transport) {
    this.transport = transport;
    if (this.connection === "ended" || this.connection === "stopped") return;
    this.note = `Continuing over ${TRANSPORTS[transport].name} after entry ${this.cursor}.`;
    this.connection = "connecting";
    this.#attach();
  }

  /** Drops the connection, as a tunnel or a deploy would, and reconnects after CUT_MS. */
  cut() {
    this.#leave("reconnecting", `Cut after entry ${this.cursor}. The job continues.`);
    this.#attachIn(CUT_MS);
  }

  /** Reconnects at once, if a reconnect is due. */
  hurry() {
    if (this.connection === "reconnecting") this.#attach();
  }

  stop() {
    this.#leave("stopped", "");
  }

  #leave(connection, note) {
    this.number += 1;
    this.reader?.close();
    this.reader = null;
    this.connection = connection;
    this.note = note;
    this.tell.changed();
  }

  #attach() {
    this.number += 1;
    this.reader?.close();
    this.#newStretch();
    this.reader = TRANSPORTS[this.transport].open(this.jobId, this.cursor, this.#listener(this.number));
    this.tell.changed();
  }

  async #attachIn(ms) {
    const { number } = this;
    await pause(ms);
    if (number === this.number) this.#attach();
  }

  /** Events of the current reader; those of earlier readers are ignored. */
  #listener(number) {
    const ifCurrent = (act) => (value) => number === this.number && act(value);
    return {
      opened: ifCurrent(() => this.#opened()),
      entry: ifCurrent((entry) => this.#entry(entry)),
      notice: ifCurrent((document) => this.#notice(document)),
      lost: ifCurrent((how) => this.#lost(how)),
    };
  }

  #newStretch() {
    const last = this.stretches.at(-1);
    if (last && !last.from) this.stretches.pop();
    this.stretches.push({ transport: this.transport, from: 0, to: 0 });
  }

  #opened() {
    if (this.connection === "reconnecting") {
      this.reconnects += 1;
      this.note = `Reconnected. Continuing after entry ${this.cursor}.`;
      this.#newStretch();
    }
    this.connection = "connected";
    this.tell.changed();
  }

  #entry(entry) {
    if (entry.id <= this.cursor) {
      this.irregular += 1;
      return;
    }
    // `restarted` may jump: Redis lost history, and the log says so itself.
    if (entry.id > this.cursor + 1 && entry.kind !== "restarted") this.irregular += entry.id - this.cursor - 1;
    this.cursor = entry.id;
    this.failures = 0;
    const stretch = this.stretches.at(-1);
    stretch.from ||= entry.id;
    stretch.to = entry.id;
    this.tell.entry(entry);
    if (isTerminal(entry)) this.#leave("ended", this.#summary());
  }

  #summary() {
    const used = this.stretches.filter(({ from }) => from).length;
    const over = `${this.cursor} entries over ${used === 1 ? "one connection" : `${used} connections`}`;
    return this.irregular ? `${over}; ${this.irregular} duplicate or missing.` : `${over}: each once, in order.`;
  }

  #notice(document) {
    if (document.type === "gap") this.#gap(document);
    if (document.type === "reconnect") this.#expectReturn("This server is stopping. Reconnecting to another one.");
    if (document.type === "unavailable") this.#expectReturn(`${document.detail}. Retrying.`);
    this.tell.notice(document);
  }

  #gap({ requested, earliest, latest }) {
    this.nothingLeft = earliest === null;
    const next = earliest ?? (latest !== null && latest <= this.cursor ? latest : requested);
    this.irregular += Math.max(0, next - this.cursor - 1);
    this.cursor = next - 1;
    this.note = `Entries from ${requested} on are missing. Continuing at ${next}.`;
    this.tell.changed();
  }

  #expectReturn(note) {
    this.connection = "reconnecting";
    this.note = note;
    this.tell.changed();
  }

  #lostNote() {
    return `Connection lost after entry ${this.cursor}. Reconnecting.`;
  }

  async #lost({ comesBack, status, problem }) {
    if (comesBack) {
      if (this.connection !== "reconnecting") this.#expectReturn(this.#lostNote());
      return;
    }
    const { number } = this;
    const why = problem?.status ? problem : await this.#whyLost(status);
    if (number !== this.number) return;
    if (FINAL.has(why?.status)) {
      this.#leave("stopped", "");
      this.tell.refused(why);
      return;
    }
    this.#leave("reconnecting", this.note || this.#lostNote());
    const backoff = BACKOFF_MS[Math.min(this.failures, BACKOFF_MS.length - 1)];
    this.failures += 1;
    // Jitter: the readers of a lost server must not all reconnect at the same moment.
    this.#attachIn(Math.max((why?.retryAfterS || 0) * 1000, backoff * (0.75 + Math.random() / 2)));
  }

  /** An EventSource and a WebSocket do not report why they were refused; a request for the job does. */
  async #whyLost(status) {
    try {
      const job = await lookUp(this.jobId);
      if (this.nothingLeft && job.ended_at) return { status: 410, message: "The rest of this job’s log is gone." };
      return status === 400 ? { status, message: "This cursor is not valid." } : null;
    } catch (problem) {
      return problem;
    }
  }
}
