/** Pauses between reconnects: short after a good connection, longer after each failure, and random. */

const AN_OUTAGE = 25;

export class Backoff {
  #failures = 0;

  constructor(timing, random = Math.random) {
    this.timing = timing;
    this.random = random;
  }

  /** A connection has delivered an entry. */
  reset() {
    this.#failures = 0;
  }

  /** The next pause in milliseconds. `atLeastMs`: the server's Retry-After; the pause is never shorter. */
  next(atLeastMs = 0) {
    const { retryMs, retryMostMs, outageMostMs } = this.timing;
    const most = this.#failures > AN_OUTAGE ? outageMostMs : retryMostMs;
    const ms = Math.min(most, retryMs * 2 ** Math.min(this.#failures, 16));
    this.#failures += 1;
    // The readers of one lost server reconnect at different times, also with the same Retry-After.
    return Math.max(ms * (0.5 + this.random() / 2), atLeastMs * (1 + this.random() / 4));
  }
}
