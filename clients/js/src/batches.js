/** Batches: many prompts in one request, results as they come. */

import { Backoff } from "./backoff.js";
import { BatchFollow } from "./batch_follow.js";
import { isRefusal, SpoolError } from "./errors.js";
import { pause } from "./pause.js";
import { post } from "./submit.js";

export class Batches {
  constructor(http) {
    this.http = http;
  }

  /** Submit an array of submissions: all of them are accepted, or none. Resolves to the batch. */
  submit(submissions, options = {}) {
    return post(this.http, "/batches", submissions, options);
  }

  /** Open a batch, to which lines are added until it is sealed. `fields`: `metadata`, `webhook`, `completion_window`,
   * `on_bad_line`, `keep_jobs`. */
  open(fields = {}, options = {}) {
    return post(this.http, "/batches", { ...fields, open: true }, options);
  }

  /** Add an array of submissions to an open batch: all of them, or none. Resolves to `{ first, count, batch }`. */
  add(id, submissions, options = {}) {
    return post(this.http, `${path(id)}/lines`, submissions, options);
  }

  /** Seal an open batch: it ends with its last line. */
  seal(id, options) {
    return this.#post(id, "seal", options);
  }

  get(id, options) {
    return this.http.json(path(id), options);
  }

  /** A page of the caller's batches, newest first: `{ batches, cursor }`. `cursor`: of the page before. `filters`: as
   * in `GET /batches`: `status`, `metadata` (`name` or `name=value`), `created_after`, `created_before`. */
  list({ limit = 20, cursor = null, filters = {}, ...options } = {}) {
    const query = new URLSearchParams({ limit, ...(cursor ? { cursor } : {}), ...filters });
    return this.http.json(`/batches?${query}`, options);
  }

  /** Follow a batch to its end: its counts, and each line that ends after entry `from`. */
  follow(id, options = {}) {
    return new BatchFollow(this.http, id, options);
  }

  cancel(id, options) {
    return this.#post(id, "cancel", options);
  }

  /** No more lines become jobs until `resume`. */
  pause(id, options) {
    return this.#post(id, "pause", options);
  }

  resume(id, options) {
    return this.#post(id, "resume", options);
  }

  /** The lines of an ended batch that did not succeed, as a new batch. The same call again returns the same batch. */
  retry(id, options) {
    return this.#post(id, "retry", options);
  }

  /** Delete a batch that has ended, with its results. */
  async delete(id, options) {
    await this.http.open(path(id), { ...options, method: "DELETE" });
  }

  #post(id, action, options) {
    return this.http.json(`${path(id)}/${action}`, { ...options, method: "POST" });
  }

  /** Wait for the end of all jobs. `onProgress(batch)` is called whenever the counts change. */
  async wait(id, { onProgress, signal } = {}) {
    let seen = "";
    for await (const batch of this.#looks(id, signal)) {
      const counts = JSON.stringify(batch.counts);
      if (counts !== seen) onProgress?.(batch);
      seen = counts;
      if (batch.ended) return batch;
    }
    throw signal.reason;
  }

  /** The ended jobs in the order of their ends, each once, until all have ended. Survives lost connections. `after`:
   * the `cursor` of the last one. Cursors jump where the server has lost some, and jobs that ended then end again. */
  async *results(id, { after = 0, signal } = {}) {
    const seen = new Set();
    let read = 0;
    for await (const batch of this.#looks(id, signal)) {
      const { succeeded, failed, cancelled, expired = 0 } = batch.counts;
      const ended = succeeded + failed + cancelled + expired;
      try {
        if (ended > read) {
          for await (const job of this.resultsSoFar(id, { after, signal })) {
            // A server of an older version counts results instead.
            after = job.cursor ?? after + 1;
            if (job.batch_index != null && seen.has(job.batch_index)) continue;
            seen.add(job.batch_index);
            yield job;
          }
          read = ended;
        }
      } catch (error) {
        if (isRefusal(error) || !(error instanceof SpoolError)) throw error;
      }
      if (batch.ended && read >= ended) return;
    }
  }

  /** Poll the batch. Waits for an unreachable server. */
  async *#looks(id, signal) {
    const backoff = new Backoff(this.http.timing);
    while (!signal?.aborted) {
      try {
        yield await this.get(id, { signal });
        backoff.reset();
        await pause(this.http.timing.pollMs, signal);
      } catch (error) {
        if (!(error instanceof SpoolError) || !error.isTemporary) throw error;
        await pause(backoff.next(error.retryAfterMs), signal);
      }
    }
  }

  /** The jobs that have ended by now, in one pass, which ends with an error if the connection is lost. */
  async *resultsSoFar(id, { after = 0, signal } = {}) {
    const response = await this.http.open(`${path(id)}/results?after=${after}`, { signal });
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    try {
      for (;;) {
        const { done, value } = await reader.read().catch((cause) => {
          throw new SpoolError("The connection was lost", { cause });
        });
        if (done) return;
        const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
        rest = lines.pop();
        for (const line of lines) if (line.trim()) yield JSON.parse(line);
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }
}

const path = (id) => `/batches/${encodeURIComponent(id)}`;
