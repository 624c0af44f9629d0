/** The browser's storage, which may be missing, full or forbidden. Then nothing is stored and nothing fails. */

export class Storage {
  /** `area`: a Web Storage, or a function that returns it, since the mere access throws where it is forbidden. */
  constructor(area) {
    this.area = area;
  }

  get(key) {
    try {
      return JSON.parse(this.#open().getItem(key));
    } catch {
      return null;
    }
  }

  set(key, value) {
    try {
      this.#open().setItem(key, JSON.stringify(value));
    } catch {
      this.remove(key);
    }
  }

  remove(key) {
    try {
      this.#open().removeItem(key);
    } catch {
      // Then there is nothing to remove either.
    }
  }

  #open() {
    return typeof this.area === "function" ? this.area() : this.area;
  }
}

/** Kept across pages and visits: the working transport of a server. */
export const lasting = new Storage(() => globalThis.localStorage);
/** Kept across reloads of one tab: the state of a job. */
export const ofTab = new Storage(() => globalThis.sessionStorage);
