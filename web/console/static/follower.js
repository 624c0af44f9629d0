/**
 * Follows one job's log, over whichever transport, across any number of connections.
 *
 * The cursor, the id of the last entry, is all that has to be remembered: a new reader that starts after it goes on
 * where the last one stopped, whichever transport either was. What the reader is told is checked here: an entry that
 * was already there is dropped and counted, and so is one that is missing.
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
    /** Which connection brought which entries: `{ transport, from, to }`, `from` 0 while it has brought none. */
    this.stretches = [];
    this.tell = tell;
    this.failures = 0;
    this.nothingLeft = false;
    this.number = 0;
  }

  start() {
    this.#attach();
  }

  /** Go on over another transport, from the entry where this one stops. */
  switchTo(transport) {
    this.transport = transport;
    if (this.connection === "ended" || this.connection === "stopped") return;
    this.note = `${TRANSPORTS[transport].name} goes on after entry ${this.cursor}.`;
    this.connection = "connecting";
    this.#attach();
  }

  /** Drop the connection, as a tunnel or a deploy would, and come back a moment later. */
  cut() {
    this.#leave("reconnecting", `Cut after entry ${this.cursor}. The job goes on.`);
    this.#attachIn(CUT_MS);
  }

  /** Come back at once, if there is something to come back to. */
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

  /** What a reader tells, as long as it is the one in use. */
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
      this.note = `Back, going on after entry ${this.cursor}.`;
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
    return this.irregular ? `${over}; ${this.irregular} came twice or not at all.` : `${over}: each once, in order.`;
  }

  #notice(document) {
    if (document.type === "gap") this.#gap(document);
    if (document.type === "reconnect") this.#expectReturn("This server is going away; another one goes on.");
    if (document.type === "unavailable") this.#expectReturn(`${document.detail}. Trying again.`);
    this.tell.notice(document);
  }

  #gap({ requested, earliest, latest }) {
    this.nothingLeft = earliest === null;
    const next = earliest ?? (latest !== null && latest <= this.cursor ? latest : requested);
    this.irregular += Math.max(0, next - this.cursor - 1);
    this.cursor = next - 1;
    this.note = `Entries from ${requested} on are gone; going on with ${next}.`;
    this.tell.changed();
  }

  #expectReturn(note) {
    this.connection = "reconnecting";
    this.note = note;
    this.tell.changed();
  }

  async #lost({ comesBack, status, problem }) {
    if (comesBack) {
      if (this.connection !== "reconnecting") this.#expectReturn(`Lost after entry ${this.cursor}. Coming back.`);
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
    this.#leave("reconnecting", this.note || `Lost after entry ${this.cursor}. Coming back.`);
    const backoff = BACKOFF_MS[Math.min(this.failures, BACKOFF_MS.length - 1)];
    this.failures += 1;
    // Not all readers of a lost server at the same moment.
    this.#attachIn(Math.max((why?.retryAfterS || 0) * 1000, backoff * (0.75 + Math.random() / 2)));
  }

  /** An EventSource and a WebSocket do not say why they were refused; the job's own address does. */
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
