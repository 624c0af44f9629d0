/** The server that delivered this page: one client for the page's session, and the console's other calls. */

import { Client } from "./client/src/index.js";

const SUBMITTED = "spool.submitted";
const SUBMITTED_KEPT = 20;
export const BATCHES = "spool.batches";

const shared = new Client();
let known = { required: false, owner: null, scopes: [] };

export const client = () => shared;

const get = (path, options) => shared.http.json(path, options);
const post = (path, document) =>
  get(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(document) });

/** The session as the server sees it: `{ required, owner, scopes, kind }`; the owner is null without a session. */
export const session = () => known;

export async function loadSession() {
  known = await get("/session");
}

/** Exchanges a key for a session, whose cookie no script can read. Throws the server's refusal. */
export async function logIn(key) {
  known = await post("/session", { key: key.trim() });
}

export async function logOut() {
  await shared.http.open("/session", { method: "DELETE" });
}

export const models = () => get("/models");
/** Kills a process of a local demo: the worker of the job, this web, or Redis. `{ part, process }`. */
export const kill = (part, job) => get(`/demo/kill/${part}?${new URLSearchParams({ job })}`, { method: "POST" });
/** The process that runs the job, in a local demo. */
export const workerOf = async (job) => (await get(`/demo/worker?${new URLSearchParams({ job })}`)).process;
/** Usage from a day on, by groups such as "day,model". */
export const usage = (asked) => get(`/usage?${new URLSearchParams(asked)}`);
export const keys = () => get("/admin/keys");
export const revokeKey = (id) => get(`/admin/keys/${encodeURIComponent(id)}/revoke`, { method: "POST" });
export const createKey = (draft) => post("/admin/keys", draft);
/** A token that reads one job and nothing else: `{ token, expires_at }`. */
export const readingToken = (job, ttl_s) => post("/tokens", { scope: { job }, ttl_s });
export const version = () => get("/version");

/** A page of the caller's jobs, newest first. */
export function jobs({ status = "", cursor = "", limit = 25, batch = "", model = "", metadata = "" } = {}) {
  const asked = Object.entries({ status, cursor, limit, batch, model, metadata }).filter(([, value]) => value);
  return get(`/jobs?${new URLSearchParams(asked)}`);
}

/** The conditions of the server, whether it takes jobs or not. */
export async function readiness() {
  const response = await fetch("/readyz", { cache: "no-store", signal: AbortSignal.timeout(5000) });
  return response.json();
}

/** The metrics as text; null where this session may not read them. */
export async function metrics() {
  const response = await fetch("/metrics", { cache: "no-store", signal: AbortSignal.timeout(5000) });
  return response.ok ? response.text() : null;
}

/** Deletes what this browser stores about jobs and batches, before another person uses it. */
export function forget() {
  sessionStorage.clear();
  localStorage.removeItem(BATCHES);
}

/** Stores the submission of a job of this tab, so that it can be submitted again. */
export function remember(id, submission) {
  const kept = [[id, submission], ...recall().filter(([other]) => other !== id)].slice(0, SUBMITTED_KEPT);
  try {
    sessionStorage.setItem(SUBMITTED, JSON.stringify(kept));
  } catch {
    // The storage is full. The job exists on the server.
  }
}

/** The submission of a job of this tab, or undefined. */
export const submissionOf = (id) => recall().find(([other]) => other === id)?.[1];

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(SUBMITTED)) ?? [];
  } catch {
    return [];
  }
}
