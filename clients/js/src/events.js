/** `events()`: what happens to the caller's jobs and batches, as one stream that reconnects after every loss. */

import { createParser } from "../vendor/eventsource-parser/index.js";
import { Backoff } from "./backoff.js";
import { isRefusal, SpoolError } from "./errors.js";
import { Alarm, pause } from "./pause.js";
import { Slots } from "./slots.js";

/** Longer than the server's heartbeats, which are 15 s apart by default. */
const SILENCE_MS = 40_000;

export class Events {
  #abort = new AbortController();
  #alarm = new Alarm();
  #cursor = "";
  #holdsBack = 0;
  #connection = "connecting";

  /**
   * `onEvent(event)`: each event, once and in order. `onMissed()`: events may be missing, so read the list: at the
   * start, after a gap, and after Redis has lost some. `onConnection(state, error)`: connecting, live, waiting,
   * refused, stopped. `batch` and `conversation` narrow the events.
   */
  constructor(http, { onEvent, onMissed, onConnection, signal, batch, conversation } = {}) {
    Object.assign(this, { http, onEvent, onMissed, onConnection });
    this.narrowed = Object.entries({ batch, conversation }).filter(([, value]) => value);
    this.slots = new Slots(http.origin);
    signal?.addEventListener("abort", () => this.stop(), { once: true });
    if (signal?.aborted) this.stop();
    else this.#run();
  }

  get connection() {
    return this.#connection;
  }

  stop() {
    this.#abort.abort(new Error("stopped"));
    this.#alarm.close();
    this.#become("stopped");
  }

  async #run() {
    const { signal } = this.#abort;
    const backoff = new Backoff(this.http.timing);
    this.#alarm.listen();
    while (!signal.aborted) {
      let error = null;
      let retryMs = 0;
      try {
        retryMs = await this.#once(backoff);
      } catch (cause) {
        error = cause;
        if (signal.aborted) return;
        if (isRefusal(error)) return this.#refuse(error);
      }
      if (signal.aborted) return;
      this.#become("waiting", error);
      await pause(retryMs || backoff.next(error?.retryAfterMs ?? 0), signal, this.#alarm);
    }
  }

  #refuse(error) {
    this.#abort.abort(error);
    this.#alarm.close();
    this.#become("refused", error);
  }

  /** One connection; a stream, or a long poll where streams are held back or refused, or other tabs use all places. */
  async #once(backoff) {
    const isHeldBack = performance.now() < this.#holdsBack;
    const release = isHeldBack ? null : await this.slots.take();
    try {
      return release ? await this.#stream(backoff) : await this.#poll(backoff);
    } finally {
      release?.();
    }
  }

  async #stream(backoff) {
    const abort = new AbortController();
    const leave = () => abort.abort(this.#abort.signal.reason);
    this.#abort.signal.addEventListener("abort", leave, { once: true });
    const { firstBytesMs, climbMs } = this.http.timing;
    let timer = setTimeout(() => {
      this.#holdsBack = performance.now() + climbMs;
      abort.abort(new SpoolError("The stream is held back"));
    }, firstBytesMs);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(new SpoolError("The stream is silent")), SILENCE_MS);
    };
    try {
      const headers = { Accept: "text/event-stream" };
      const response = await this.http.open(this.#path({ heartbeat: "event" }), { headers, signal: abort.signal });
      if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        await response.body?.cancel();
        throw new SpoolError("Something between answered the stream", { status: 502 });
      }
      return await this.#drain(response.body, heard, backoff);
    } finally {
      clearTimeout(timer);
      this.#abort.signal.removeEventListener("abort", leave);
      abort.abort();
    }
  }

  async #drain(body, heard, backoff) {
    let retryMs = 0;
    let announcedMs = 0;
    let isRefused = true;
    const parser = createParser({
      onEvent: ({ event, data }) => {
        heard();
        if (event === "unavailable" && isRefused) this.#holdsBack = performance.now() + this.http.timing.climbMs;
        else if (event === "reconnect" || event === "unavailable") announcedMs = retryMs;
        else backoff.reset();
        isRefused = false;
        this.#take(JSON.parse(data));
      },
      onRetry: (ms) => (retryMs = ms),
    });
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read().catch((cause) => {
        throw cause instanceof SpoolError ? cause : new SpoolError("The connection was lost", { cause });
      });
      if (done) return announcedMs;
      parser.feed(decoder.decode(value, { stream: true }));
    }
  }

  /** The next poll follows immediately. */
  async #poll(backoff) {
    const { longWaitS, requestMs } = this.http.timing;
    const isFirst = this.#cursor === "";
    const wait = isFirst ? 0 : longWaitS;
    const page = await this.http.json(this.#path({ wait }), {
      headers: { Accept: "application/json" },
      signal: this.#abort.signal,
      timeoutMs: wait * 1000 + requestMs,
    });
    backoff.reset();
    this.#become("live");
    this.#cursor = String(page.next);
    if (isFirst || page.gap) this.onMissed?.();
    for (const event of page.entries) this.#tell(event);
    return 1;
  }

  #path(query) {
    const after = this.#cursor ? [["after", this.#cursor]] : [];
    return `/events?${new URLSearchParams([...Object.entries(query), ...after, ...this.narrowed])}`;
  }

  #take(document) {
    if (this.#abort.signal.aborted) return;
    if (document.kind) {
      this.#cursor = String(document.id);
      this.#tell(document);
    } else if (document.type === "attached") {
      const isFirst = this.#cursor === "";
      this.#cursor ||= String(document.after);
      this.#become("live");
      if (isFirst) this.onMissed?.();
    } else if (document.type === "gap") this.onMissed?.();
    else if (document.type === "unavailable") this.#become("waiting", new SpoolError(document.detail));
  }

  #tell(event) {
    if (event.kind === "restarted") this.onMissed?.();
    else this.onEvent?.(event);
  }

  #become(connection, error = null) {
    if (connection === this.#connection && !error) return;
    this.#connection = connection;
    this.onConnection?.(connection, error);
  }
}
