/** A job's state, kept for a reload of this tab. The text and its cursor are stored together or not at all. */

import { newState } from "./state.js";
import { ofTab } from "./storage.js";

const EVERY_MS = 1000;
const MOST_CHARACTERS = 1_000_000;
/** The first version skipped the entries of results: read on after its cursor, a result would lack its beginning. */
const VERSION = 2;

export class Memory {
  #timer = null;
  #onHide = () => this.save();

  constructor(origin, id, state, store = ofTab) {
    this.key = `spool.job ${origin} ${id}`;
    this.state = state;
    this.store = store;
    globalThis.addEventListener?.("pagehide", this.#onHide);
  }

  /** The stored state of a job, or null. */
  static recall(origin, id, store = ofTab) {
    const stored = store.get(`spool.job ${origin} ${id}`);
    return stored?.version === VERSION ? { ...newState(), ...stored.state } : null;
  }

  /** The state has changed: store it soon. */
  touch() {
    this.#timer ??= setTimeout(() => this.save(), EVERY_MS);
  }

  save() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const { text, reasoning, result } = this.state;
    // Storage is scarce (about 5 MB a site). A longer answer is read again from its log.
    if (text.length + reasoning.length + result.length > MOST_CHARACTERS) this.store.remove(this.key);
    else this.store.set(this.key, { version: VERSION, state: this.state });
  }

  forget() {
    this.close();
    this.store.remove(this.key);
  }

  close() {
    clearTimeout(this.#timer);
    this.#timer = null;
    globalThis.removeEventListener?.("pagehide", this.#onHide);
  }
}
