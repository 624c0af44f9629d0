/** Pauses between reconnects: short after a good connection, longer after each failure, never the same for all. */

const AN_OUTAGE = 25;

export class Backoff {
  #failures = 0;

  constructor(timing, random = Math.random) {
    this.timing = timing;
    this.random = random;
  }

  /** A connection has brought something. */
  reset() {
    this.#failures = 0;
  }

  /** The next pause in milliseconds. `atLeastMs`: what the server asked for; it is never undercut. */
  next(atLeastMs = 0) {
    const { retryMs, retryMostMs, outageMostMs } = this.timing;
    const most = this.#failures > AN_OUTAGE ? outageMostMs : retryMostMs;
    const ms = Math.min(most, retryMs * 2 ** Math.min(this.#failures, 16));
    this.#failures += 1;
    // Readers of one lost server come back spread out, also those that it told the same time.
    return Math.max(ms * (0.5 + this.random() / 2), atLeastMs * (1 + this.random() / 4));
  }
}
