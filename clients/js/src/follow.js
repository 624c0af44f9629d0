/** `follow()`: a job's log as an async iterator, as callbacks, and as a view for a user interface. */

import { Follower, ENDED, REFUSED, STOPPED } from "./follower.js";
import { Frames } from "./frames.js";
import { JobLog } from "./log.js";
import { Memory } from "./memory.js";
import { Pacer } from "./pacer.js";
import { Slots } from "./slots.js";
import { newState } from "./state.js";

const OVER = new Set([ENDED, REFUSED, STOPPED]);

export class Follow {
  #listeners = new Set();
  #queues = new Set();
  #pacer = null;
  #memory = null;
  #view = null;

  constructor(http, id, options = {}) {
    const { from = 0, keep = true, paced = false, throttleMs = 0, signal, onEntry, onChange, onEnd } = options;
    this.id = id;
    this.http = http;
    const stored = keep && from === 0 ? Memory.recall(http.origin, id) : null;
    const state = stored ?? newState(from);
    if (keep && from === 0) this.#memory = new Memory(http.origin, id, state);
    if (paced) this.#pacer = new Pacer();
    this.#pacer?.skipTo(state.text.length);
    this.log = new JobLog(state, (document) => this.#tell(document));
    const changed = () => this.#changed();
    const slots = new Slots(http.origin);
    const path = `/jobs/${encodeURIComponent(id)}`;
    this.follower = new Follower({ http, path, log: this.log, transports: options.transports, slots, changed });
    this.frames = new Frames(() => this.#notify(), throttleMs);
    Object.assign(this, { onEntry, onEnd });
    if (onChange) this.subscribe(onChange);
    signal?.addEventListener("abort", () => this.stop(), { once: true });
    if (signal?.aborted) this.stop();
    else this.start();
  }

  /** Start again after a stop or a refusal; end a pause. */
  start() {
    this.follower.start();
    return this;
  }

  /** Stop reading. The job continues. */
  stop() {
    this.follower.stop();
    this.frames.flush();
    this.#memory?.save();
  }

  /** Continue over these transports, best first, after the last entry; undefined: over all. */
  use(transports) {
    this.follower.use(transports);
    return this;
  }

  cancel() {
    return this.http.json(`${this.follower.path}/cancel`, { method: "POST" });
  }

  /** `listener(view)` after changes, at most once per animation frame. Returns a function that ends it. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The data for a user interface. The same object until something changes. */
  get view() {
    this.#view ??= this.#makeView();
    return this.#view;
  }

  /** Entries (`kind`) and messages (`type`), each once and in order. Ends after the terminal entry. */
  async *[Symbol.asyncIterator]() {
    const queue = { documents: [], wake: () => {} };
    this.#queues.add(queue);
    try {
      while (true) {
        while (queue.documents.length) yield queue.documents.shift();
        if (this.follower.connection === REFUSED) throw this.follower.error;
        if (OVER.has(this.follower.connection)) return;
        await new Promise((resolve) => (queue.wake = resolve));
      }
    } finally {
      this.#queues.delete(queue);
    }
  }

  #tell(document) {
    for (const queue of this.#queues) queue.documents.push(document);
    this.onEntry?.(document);
    this.#memory?.touch();
    this.#changed();
  }

  #changed() {
    this.#view = null;
    for (const queue of this.#queues) queue.wake();
    const { connection } = this.follower;
    if (connection === REFUSED) this.#memory?.forget();
    if (connection === ENDED) this.#end();
    this.frames.request();
  }

  #end() {
    this.#memory?.save();
    this.#memory?.close();
    const { onEnd } = this;
    this.onEnd = null;
    onEnd?.(this.view);
  }

  #notify() {
    this.#view = null;
    for (const listener of [...this.#listeners]) listener(this.view);
    if (this.view.text.length < this.log.state.text.length) this.frames.request();
  }

  #makeView() {
    const { log, follower } = this;
    const { cursor, failure, text, ...state } = log.state;
    return Object.freeze({
      ...state,
      text: this.#pacer ? this.#pacer.shown(text, log.isEnded) : text,
      job: log.job,
      position: state.queue?.position ?? null,
      lastEntry: cursor,
      error: failure ?? (follower.connection === REFUSED ? follower.error : null),
      isEnded: log.isEnded,
      connection: follower.connection,
      transport: follower.transport,
      connections: follower.connections,
      trouble: follower.connection === REFUSED ? null : follower.error,
    });
  }
}
