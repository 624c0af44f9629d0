/**
 * Which transport to use. Down after two strikes of one transport while the server itself answers; up again, one at a
 * time, after a while. The working transport is remembered for each origin.
 */

import { lasting } from "./storage.js";

const STRIKES = 2;
const REMEMBERED_MS = 86_400_000;

export class Ladder {
  #at = 0;
  #strikes = 0;
  #silences = 0;
  #side = 0;
  #climbMs;
  #climbAt = Infinity;
  #remembered = null;
  /** The rung to return to when a better one, which is being tried, fails. */
  #fallback = null;

  constructor(names, origin, timing, { store = lasting, now = Date.now } = {}) {
    this.names = names;
    this.key = `spool.transport ${origin}`;
    this.timing = timing;
    this.store = store;
    this.now = now;
    this.#climbMs = timing.climbMs;
    this.#recall();
  }

  get name() {
    return this.names[(this.#at + this.#side) % this.names.length];
  }

  /** How far down it is, from 0. */
  get depth() {
    return this.#at;
  }

  /** Milliseconds until a better transport may be tried. */
  get climbInMs() {
    return this.#at === 0 ? Infinity : Math.max(0, this.#climbAt - this.now());
  }

  /** The transport of the next connection. */
  next() {
    if (this.#fallback === null && this.#side === 0 && this.climbInMs === 0) {
      this.#fallback = this.#at;
      this.#at -= 1;
      this.#strikes = 0;
      this.#planClimb();
    }
    return this.name;
  }

  /** This transport has brought an entry, or has opened while there was none. */
  works() {
    if (this.#side) {
      this.#at = (this.#at + this.#side) % this.names.length;
      this.#planClimb();
    }
    if (this.#fallback !== null) this.#climbMs = this.timing.climbMs;
    this.#fallback = null;
    this.#strikes = this.#silences = this.#side = 0;
    if (this.#remembered !== this.name) this.#remember();
  }

  /** This transport failed although the server answers. `isSure`: one such failure is enough. */
  strike(isSure = false) {
    if (this.#side) return this.sidestep();
    this.#strikes += isSure || this.#fallback !== null ? STRIKES : 1;
    if (this.#strikes >= STRIKES) this.#down();
  }

  /**
   * Nothing answered in time: the server is lost, or this browser's connections to it are used up. The others are
   * tried in turn with this one, which stays the one in use unless another works.
   */
  sidestep() {
    this.#silences += 1;
    this.#side = this.#silences % 2 ? ((this.#silences + 1) / 2) % this.names.length : 0;
  }

  #down() {
    this.#strikes = 0;
    if (this.#fallback !== null) {
      this.#at = this.#fallback;
      this.#fallback = null;
      this.#climbMs = Math.min(this.timing.climbMostMs, this.#climbMs * 2);
    } else {
      // After the last transport comes the first, because the network itself may have failed.
      this.#at = (this.#at + 1) % this.names.length;
    }
    this.#planClimb();
  }

  #planClimb() {
    this.#climbAt = this.now() + this.#climbMs;
  }

  #remember() {
    // The only transport that the caller allows says nothing about the others.
    if (this.names.length === 1) return;
    const { name: rung } = this;
    this.#remembered = rung;
    this.store.set(this.key, { rung, climbAt: this.#climbAt, climbMs: this.#climbMs, at: this.now() });
  }

  #recall() {
    const known = this.store.get(this.key);
    if (!known || !(this.now() - known.at < REMEMBERED_MS)) return;
    this.#at = Math.max(0, this.names.indexOf(known.rung));
    this.#climbMs = known.climbMs || this.timing.climbMs;
    this.#climbAt = known.climbAt ?? this.now();
  }
}
