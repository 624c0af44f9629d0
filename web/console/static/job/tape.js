/** Plays an ended answer again, at the speed of its log or a multiple: every entry has its time. */

import { apply, newState } from "../client/src/state.js";

export class Tape {
  #frame = 0;

  /** `show(state, progress, speed)` is called for each frame; `done()` at the end, or when it is stopped. */
  constructor(entries, { show, done }) {
    Object.assign(this, { entries, show, done });
  }

  get isPlaying() {
    return this.#frame !== 0;
  }

  play(speed) {
    this.#leave();
    const first = Date.parse(this.entries[0].at);
    const last = Date.parse(this.entries.at(-1).at);
    const state = newState();
    const began = performance.now();
    let next = 0;
    const step = () => {
      const at = first + (performance.now() - began) * speed;
      while (next < this.entries.length && Date.parse(this.entries[next].at) <= at) apply(state, this.entries[next++]);
      this.show(state, last > first ? Math.min(1, (at - first) / (last - first)) : 1, speed);
      if (next < this.entries.length) this.#frame = requestAnimationFrame(step);
      else this.stop();
    };
    this.#frame = requestAnimationFrame(step);
  }

  stop() {
    this.#leave();
    this.done();
  }

  #leave() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }
}
