/** Many changes, one notification: at most one per animation frame, and no more often than `throttleMs`. */

const NO_FRAME_MS = 16;
// A hidden tab has no frames, and its timers run about once a second.
const HIDDEN_MS = 200;

export class Frames {
  #planned = null;
  #lastAt = -Infinity;

  constructor(notify, throttleMs = 0) {
    this.notify = notify;
    this.throttleMs = throttleMs;
  }

  /** Notify soon. */
  request() {
    if (this.#planned) return;
    const { document, requestAnimationFrame } = globalThis;
    const isVisible = requestAnimationFrame && document?.visibilityState === "visible";
    const waitMs = this.#lastAt + this.throttleMs - performance.now();
    if (isVisible && waitMs <= NO_FRAME_MS) {
      // A tab that is hidden before its next frame gets no frame, so the timer replaces it.
      const timer = setTimeout(() => this.flush(), HIDDEN_MS);
      const frame = requestAnimationFrame(() => this.flush());
      this.#planned = () => (globalThis.cancelAnimationFrame(frame), clearTimeout(timer));
    } else {
      const timer = setTimeout(() => this.flush(), Math.max(waitMs, document && !isVisible ? HIDDEN_MS : NO_FRAME_MS));
      this.#planned = () => clearTimeout(timer);
    }
  }

  /** Notify now. */
  flush() {
    this.cancel();
    this.#lastAt = performance.now();
    this.notify();
  }

  cancel() {
    this.#planned?.();
    this.#planned = null;
  }
}
