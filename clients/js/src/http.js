/** Requests: every one has a timeout, carries the current credential, and refreshes it once after a 401. */

import { errorOf, SpoolError } from "./errors.js";
import { TIMING } from "./timing.js";

export class Http {
  #refreshing = null;

  /** `token`: a string, or a function `({ refresh }) => string`, which may be asynchronous. */
  constructor({ baseUrl, token = null, fetch = globalThis.fetch, WebSocket = globalThis.WebSocket, timing = {} } = {}) {
    this.baseUrl = String(baseUrl ?? globalThis.location?.origin ?? "").replace(/\/+$/, "");
    this.token = token;
    this.WebSocket = WebSocket;
    this.timing = { ...TIMING, ...timing };
    // A browser's fetch refuses to be called as a method of another object.
    this.fetch = (...args) => fetch(...args);
  }

  /** The origin, under which the ladder remembers what worked. */
  get origin() {
    return new URL(this.baseUrl).origin;
  }

  /** An address of a WebSocket. */
  socketUrl(path) {
    return this.baseUrl.replace(/^http/, "ws") + path;
  }

  /** The whole JSON answer, within `timeoutMs`. Raises `SpoolError`, or the reason of `signal`. */
  async json(path, options = {}) {
    return (await this.exchange(path, options)).document;
  }

  /** The same with its response; the document of a 304 is null. */
  async exchange(path, options = {}) {
    return this.#within(options, async (signal) => {
      const response = await this.#answer(path, { ...options, signal });
      return { response, document: response.status === 304 ? null : await response.json() };
    });
  }

  /** The response as soon as its headers are there; its body may never end. Raises like `json`. */
  async open(path, options = {}) {
    const abort = new AbortController();
    const stop = () => abort.abort(options.signal.reason);
    if (options.signal?.aborted) stop();
    options.signal?.addEventListener("abort", stop, { once: true });
    // The listener stays: aborting the caller's signal also ends the body.
    return this.#within({ ...options, signal: null, abort }, (signal) => this.#answer(path, { ...options, signal }));
  }

  /** Do `work(signal)`, aborted when the time is over or the caller's signal is. */
  async #within({ signal = null, abort = new AbortController(), timeoutMs = this.timing.requestMs }, work) {
    const late = new SpoolError(`No answer within ${timeoutMs} ms`);
    const timer = setTimeout(() => abort.abort(late), timeoutMs);
    const stop = () => abort.abort(signal.reason);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      return await work(abort.signal);
    } catch (cause) {
      if (abort.signal.aborted) throw abort.signal.reason;
      throw cause instanceof SpoolError ? cause : new SpoolError("The server cannot be reached", { cause });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
  }

  async #answer(path, { method = "GET", headers = {}, body, signal }) {
    let token = await this.#current(false);
    for (let tries = 1; ; tries += 1) {
      const credential = token ? { Authorization: `Bearer ${token}` } : {};
      const all = { ...headers, ...credential };
      const response = await this.fetch(this.baseUrl + path, { method, headers: all, body, signal, cache: "no-store" });
      if (response.ok || response.status === 304) return response;
      if (response.status !== 401 || tries > 1 || typeof this.token !== "function") throw await errorOf(response);
      await response.body?.cancel();
      token = await this.#current(true);
    }
  }

  /** The token; many requests that need a new one at the same time cause one refresh. */
  async #current(refresh) {
    if (typeof this.token !== "function") return this.token;
    if (!refresh) return this.token({ refresh: false });
    this.#refreshing ??= Promise.resolve(this.token({ refresh: true })).finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }
}
