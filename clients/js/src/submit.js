/** Submits. A request whose outcome is unknown is repeated under the same key, so it never creates two jobs. */

import { Backoff } from "./backoff.js";
import { SpoolError } from "./errors.js";
import { pause } from "./pause.js";

/**
 * POST JSON until there is an answer. Raises the last `SpoolError` with the `idempotencyKey`, for a later try.
 * `onRetry(error, waitMs)` is called before each wait for another attempt.
 */
export async function post(http, path, document, { idempotencyKey = randomKey(), signal, withinMs, onRetry } = {}) {
  const until = performance.now() + (withinMs ?? http.timing.submitMs);
  const backoff = new Backoff(http.timing);
  const headers = { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey };
  const body = JSON.stringify(document);
  for (;;) {
    try {
      return await http.json(path, { method: "POST", headers, body, signal });
    } catch (error) {
      if (!(error instanceof SpoolError)) throw error;
      error.idempotencyKey = idempotencyKey;
      const waitMs = backoff.next(error.retryAfterMs);
      const isSafe = error.isTemporary || isBusy(error);
      if (!isSafe || performance.now() + waitMs > until) throw error;
      onRetry?.(error, waitMs);
      await pause(waitMs, signal);
      if (signal?.aborted) throw signal.reason;
    }
  }
}

// A batch of the same key is being written at this moment.
const isBusy = (error) => error.status === 409 && error.retryAfterMs > 0;

// crypto.randomUUID exists in secure contexts only, and Spool may be on plain HTTP in a home network.
const randomKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");
