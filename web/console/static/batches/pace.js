/** The rate at which lines end, over the last half minute. */

const WINDOW_MS = 30_000;
const ENOUGH_MS = 4000;

export class Pace {
  #samples = [];

  /** `now`: milliseconds of a monotonic clock. */
  constructor(now = () => performance.now()) {
    this.now = now;
  }

  /** The number of lines that have ended by now. */
  add(done) {
    const at = this.now();
    this.#samples.push({ at, done });
    while (this.#samples[0].at < at - WINDOW_MS) this.#samples.shift();
  }

  /** Milliseconds until all lines have ended, at the current rate; null while it is unknown. */
  leftMs(total) {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    const gained = last.done - first.done;
    return last.at - first.at < ENOUGH_MS || gained <= 0 ? null : ((total - last.done) / gained) * (last.at - first.at);
  }
}
