/**
 * Streams that pages of one browser hold open to one host. HTTP/1.1 browsers allow six connections per host: the
 * seventh stream, and every other request with it, would never start. So tabs share four places by Web Locks, and
 * leave two connections for requests. Without Web Locks (Node, insecure contexts) nothing is counted.
 */

const PLACES = 4;

export class Slots {
  constructor(origin, locks = globalThis.document && globalThis.navigator.locks) {
    this.origin = origin;
    this.locks = isMultiplexed(origin) ? null : locks;
  }

  /** Resolves to a function that gives the place back, or to null if all are taken. */
  async take() {
    if (!this.locks) return () => {};
    for (let place = 0; place < PLACES; place += 1) {
      const release = await this.#tryPlace(`spool.stream ${this.origin} ${place}`);
      if (release) return release;
    }
    return null;
  }

  #tryPlace(name) {
    return new Promise((resolve) => {
      const hold = (lock) => (lock ? new Promise((release) => resolve(release)) : resolve(null));
      this.locks.request(name, { ifAvailable: true }, hold).catch(() => resolve(() => {}));
    });
  }
}

/** Whether the last answers of this origin came over HTTP/2 or 3, where streams share one connection. */
function isMultiplexed(origin) {
  const seen = globalThis.performance?.getEntriesByType?.("resource") ?? [];
  const last = seen.filter(({ name, nextHopProtocol }) => nextHopProtocol && name.startsWith(`${origin}/`)).at(-1);
  return Boolean(last && /^h[23]/.test(last.nextHopProtocol));
}
