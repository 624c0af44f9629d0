/** The HTTP API: one function per call, and one error class for all refusals. */

const KEY = "spool.key";
const SUBMIT_TRIES = 4;

/** A refusal of the API, RFC 9457. `status` is 0 if the API could not be reached. */
export class ApiProblem extends Error {
  constructor(status, document, retryAfterS = 0) {
    super(document.detail || document.title || `The server answered ${status}`);
    this.status = status;
    this.errors = document.errors || [];
    this.retryAfterS = retryAfterS;
  }
}

export const storedKey = () => sessionStorage.getItem(KEY) || "";
export const storeKey = (key) => sessionStorage.setItem(KEY, key.trim());

/** The headers that authenticate the caller. */
export function credentials() {
  const key = storedKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** The successful response to a request. Throws `ApiProblem`. */
export async function request(path, { headers = {}, ...options } = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...credentials(), ...headers }, cache: "no-store" });
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new ApiProblem(0, { detail: "The server cannot be reached." });
  }
  if (response.ok) return response;
  const document = await response.json().catch(() => ({}));
  throw new ApiProblem(response.status, document, Number(response.headers.get("Retry-After")) || 0);
}

const json = async (path, options) => (await request(path, options)).json();

export const models = () => json("/models");
export const job = (id) => json(`/jobs/${id}`);
export const recentJobs = (limit) => json(`/jobs?limit=${limit}`);
export const cancel = (id) => json(`/jobs/${id}/cancel`, { method: "POST" });
export const entries = (id, after, waitS, signal) =>
  json(`/jobs/${id}/entries?after=${after}&wait=${waitS}`, { signal });

/** Submits a job. Retries use the same idempotency key, so they never create a second job. */
export async function submit(submission) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": randomKey() };
  const body = JSON.stringify(submission);
  for (let tries = 1; ; tries += 1) {
    try {
      return await json("/jobs", { method: "POST", headers, body });
    } catch (problem) {
      const passing = problem.status === 0 || problem.status === 503;
      if (!passing || tries === SUBMIT_TRIES) throw problem;
      await pause(Math.max(problem.retryAfterS * 1000, 400 * tries));
    }
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// crypto.randomUUID exists in secure contexts only, and Spool may well be on plain HTTP in a home network.
const randomKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");
