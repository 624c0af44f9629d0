/** The error of every failed call, with the fields that a caller needs to decide. */

export class SpoolError extends Error {
  /**
   * `status`: the HTTP status, 0 if the server was not reached. `problem`: the server's RFC 9457 document, or null.
   * `retryAfterMs`: 0 if the server named no time. `idempotencyKey`: of a submit whose outcome is unknown.
   */
  constructor(message, { status = 0, problem = null, retryAfterMs = 0, idempotencyKey = null, cause } = {}) {
    super(message, { cause });
    this.name = "SpoolError";
    this.status = status;
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
    this.idempotencyKey = idempotencyKey;
  }

  /** Whether a retry can succeed without a change: no answer, 408, 425, 429, and 5xx. */
  get isTemporary() {
    return this.status === 0 || this.status === 408 || this.status === 425 || this.status === 429 || this.status >= 500;
  }
}

const FINAL = new Set([400, 403, 404, 410, 422]);

/**
 * Whether the server itself refuses. A proxy's error page with the same status is no refusal: only Spool answers with
 * a problem document. A 401 counts either way, since it also comes from a gateway that requires a credential.
 */
export const isRefusal = (error) => error.status === 401 || (FINAL.has(error.status) && error.problem !== null);

/** The error of an HTTP answer that is not a success. */
export async function errorOf(response) {
  const text = await response.text().catch(() => "");
  const problem = response.headers.get("Content-Type")?.includes("json") ? parsed(text) : null;
  const message = problem?.detail || problem?.title || `The server answered ${response.status}`;
  return new SpoolError(message, {
    status: response.status,
    problem,
    retryAfterMs: retryAfterMs(response.headers.get("Retry-After")),
  });
}

/** `Retry-After` is in seconds, or a date (RFC 9110 section 10.2.3). */
export function retryAfterMs(value, now = Date.now()) {
  if (!value) return 0;
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

function parsed(text) {
  try {
    const document = JSON.parse(text);
    return document && typeof document === "object" ? document : null;
  } catch {
    return null;
  }
}
