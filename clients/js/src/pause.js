/** Pauses that can be interrupted. */

/** Wait `ms`, or until `signal` aborts, or until the alarm rings. Never rejects. Returns whether the time passed. */
export function pause(ms, signal = null, alarm = null) {
  if (signal?.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const finish = (passed) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      alarm?.removeEventListener("ring", stop);
      resolve(passed);
    };
    const stop = () => finish(false);
    const timer = setTimeout(() => finish(true), ms);
    signal?.addEventListener("abort", stop, { once: true });
    alarm?.addEventListener("ring", stop, { once: true });
  });
}

/** Rings when the page is online, visible, thawed, or restored from the page cache. */
export class Alarm extends EventTarget {
  #ring = () => this.ring();
  #ifVisible = () => globalThis.document.visibilityState === "visible" && this.ring();

  ring() {
    this.dispatchEvent(new Event("ring"));
  }

  listen() {
    globalThis.addEventListener?.("online", this.#ring);
    globalThis.addEventListener?.("pageshow", this.#ring);
    globalThis.document?.addEventListener("visibilitychange", this.#ifVisible);
    globalThis.document?.addEventListener("resume", this.#ring);
  }

  close() {
    globalThis.removeEventListener?.("online", this.#ring);
    globalThis.removeEventListener?.("pageshow", this.#ring);
    globalThis.document?.removeEventListener("visibilitychange", this.#ifVisible);
    globalThis.document?.removeEventListener("resume", this.#ring);
  }
}
