/**
 * Follows the log of one job or batch to its end, over any number of connections, one at a time.
 *
 * The cursor is all that a new connection needs. When it is unclear why one ended, the record is read: it
 * distinguishes a lost server from a blocked transport, and a log that has ended from a broken stream.
 */

import { Attempt, HELD_BACK, LEFT, SILENT } from "./attempt.js";
import { Backoff } from "./backoff.js";
import { isRefusal } from "./errors.js";
import { Ladder } from "./ladder.js";
import { Alarm, pause } from "./pause.js";
import { Storage } from "./storage.js";
import { HOLDS_CONNECTION, TRANSPORTS, usable } from "./transports/index.js";

const NOWHERE = new Storage(null);

/** The states of a follower. `start()` begins again from `stopped` and `refused`, and ends a pause in the others. */
export const IDLE = "idle";
export const CONNECTING = "connecting";
export const LIVE = "live";
export const WAITING = "waiting";
export const OFFLINE = "offline";
export const STOPPED = "stopped";
export const REFUSED = "refused";
export const ENDED = "ended";

export class Follower {
  connection = IDLE;
  transport = null;
  /** In `refused` the server's error, in `waiting` the end of the last connection, else null. */
  error = null;
  connections = 0;
  #abort = null;
  #alarm = new Alarm();
  #left = new AbortController();
  /** The latest record and its ETag: while nothing changes, a request costs a 304. */
  #seen = { tag: "", job: null };

  /** `path`: of the record. `changed()` is called after every change that is not an entry. */
  constructor({ http, path, log, transports, ladder, slots, changed }) {
    Object.assign(this, { http, path, log, slots, changed });
    this.ladder = ladder ?? new Ladder(usable(http, transports), http.origin, http.timing);
    this.backoff = new Backoff(http.timing);
  }

  /** Start, start again, or end a pause. */
  start() {
    if (this.log.isEnded) return this.#be(ENDED);
    if (this.#abort) return this.#alarm.ring();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.#alarm.listen();
    this.backoff.reset();
    this.#run(signal)
      .catch((error) => signal.aborted || this.#be(REFUSED, error))
      .finally(() => this.#abort?.signal === signal && this.#close());
  }

  stop() {
    if (!this.#abort) return;
    this.#abort.abort(new Error("stopped"));
    this.#close();
    this.#be(STOPPED);
  }

  /** Continue over these transports, best first, after the last entry; undefined: over all. */
  use(transports) {
    this.ladder = new Ladder(usable(this.http, transports), this.http.origin, this.http.timing);
    this.#left.abort();
    this.#left = new AbortController();
    this.#alarm.ring();
  }

  async #run(signal) {
    this.#look(signal).catch(() => {});
    while (!signal.aborted) {
      const { depth } = this.ladder;
      const outcome = await this.#connect(signal);
      if (!this.log.isEnded) await this.#settle(outcome, signal);
      if (this.log.isEnded && this.log.state.incomplete) await this.#complete(signal);
      if (signal.aborted) return;
      if (this.log.isEnded) return this.#be(ENDED);
      if (outcome.how !== LEFT && !this.#hasStepped(depth)) await this.#wait(outcome, signal);
    }
  }

  /** Whether another transport is to be tried, which needs no pause. */
  #hasStepped(depth) {
    if (this.ladder.depth <= depth) return false;
    this.backoff.reset();
    return true;
  }

  async #connect(signal) {
    this.place = await this.#choose();
    const { name, release, ladder, leaveInMs } = this.place;
    this.transport = name;
    this.#be(CONNECTING);
    try {
      return await new Attempt({
        transport: TRANSPORTS[name],
        http: this.http,
        path: this.path,
        log: this.log,
        alarm: this.#alarm,
        look: () => this.#look(signal),
        onOpen: () => this.#opened(),
        onFirstEntry: () => ladder.works(),
        leaveInMs,
        left: this.#left.signal,
      }).run(signal);
    } finally {
      release();
    }
  }

  /** The transport that the ladder names, or another where this browser's connections to the host are used up. */
  async #choose() {
    const name = this.ladder.next();
    const release = HOLDS_CONNECTION.has(name) ? await this.slots.take() : () => {};
    if (release) return { name, release, ladder: this.ladder, leaveInMs: this.ladder.climbInMs };
    const others = this.ladder.names.filter((other) => !HOLDS_CONNECTION.has(other));
    this.substitutes ??= new Ladder(others.length ? others : ["short"], "", this.http.timing, { store: NOWHERE });
    const ladder = this.substitutes;
    return { name: ladder.next(), release: () => {}, ladder, leaveInMs: this.http.timing.climbMs };
  }

  #opened() {
    this.connections += 1;
    this.#be(LIVE);
  }

  /** The meaning of the end of a connection. Throws the server's refusal. */
  async #settle(outcome, signal) {
    const { how, error, brought } = outcome;
    if (error && isRefusal(error)) throw error;
    if (brought) this.backoff.reset();
    if (how === SILENT) return brought || this.place.ladder.sidestep();
    // After a cut in the middle of an answer there is no doubt: reconnect.
    const isClear = brought > 0 && !error?.status && how !== HELD_BACK;
    if (how === LEFT && outcome.hasOpened) this.place.ladder.works();
    if (how === LEFT || (isClear && !this.log.state.incomplete)) return;
    const record = await this.#look(signal);
    // Without a record the server is unreachable, which says nothing about the transport.
    if (!record) return;
    const { state } = this.log;
    const isOver = this.log.isOver(record);
    if (isOver && (record.last_entry <= state.cursor || state.incomplete)) return this.log.finish(record);
    if (state.incomplete) this.log.adopt(record);
    if (!isClear && !error?.problem) this.#judge(outcome, record.last_entry > state.cursor);
  }

  #judge({ how, error, brought, hasOpened }, isBehind) {
    const { ladder } = this.place;
    if (how === HELD_BACK) ladder.strike(!brought);
    else if (!hasOpened || error?.status || isBehind) ladder.strike();
    else ladder.works();
  }

  async #complete(signal) {
    const record = await this.#look(signal);
    if (record && this.log.isOver(record)) this.log.finish(record);
  }

  /** The record, or null if it cannot be read now. Throws the server's refusal. */
  async #look(signal) {
    const { tag, job } = this.#seen;
    try {
      const headers = tag ? { "If-None-Match": tag } : {};
      const options = { headers, signal, timeoutMs: this.http.timing.lookMs };
      const { response, document } = await this.http.exchange(this.path, options);
      this.#seen = { tag: response.headers.get("ETag"), job: document ?? job };
      this.log.record(this.#seen.job);
      this.changed();
      return this.#seen.job;
    } catch (error) {
      if (signal.aborted || isRefusal(error)) throw error;
      return null;
    }
  }

  async #wait({ error, retryMs }, signal) {
    this.#be(globalThis.navigator?.onLine === false ? OFFLINE : WAITING, error);
    await pause(this.backoff.next(error?.retryAfterMs || retryMs), signal, this.#alarm);
  }

  #close() {
    this.#abort = null;
    this.#alarm.close();
  }

  #be(connection, error = null) {
    this.connection = connection;
    this.error = error;
    this.changed();
  }
}
