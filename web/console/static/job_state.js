/** The state of a job, computed from its entries. Pure: no document, no network. */

const TERMINAL = { done: "succeeded", failed: "failed", cancelled: "cancelled" };

export const isTerminal = (entry) => entry.kind in TERMINAL;

export function newState(jobId) {
  return {
    jobId,
    status: "queued",
    attempt: 0,
    model: "",
    prompt: "",
    /** What the queued job waits for, as a `queued` message says it; null while unknown. */
    wait: null,
    cancelling: false,
    text: "",
    reasoning: "",
    toolCalls: new Map(),
    usage: null,
    error: null,
    finishReason: "",
    waiting: null,
    startedAt: 0,
    endedAt: 0,
    /** The starts of later attempts: `{ kind, attempt, reason, offset }`, the offset into the text. */
    marks: [],
  };
}

const APPLY = {
  started(state, entry) {
    state.attempt = entry.attempt;
    state.model = entry.model;
    state.startedAt = Date.parse(entry.at);
  },
  token(state, entry) {
    state.text += entry.text;
  },
  reasoning(state, entry) {
    state.reasoning += entry.text;
  },
  tool_call(state, entry) {
    const call = state.toolCalls.get(entry.index) || { name: "", id: "", arguments: "" };
    call.name = entry.name || call.name;
    call.id = entry.call_id || call.id;
    call.arguments += entry.arguments || "";
    state.toolCalls.set(entry.index, call);
  },
  usage(state, entry) {
    state.usage = entry;
  },
  restarted(state, entry) {
    state.text = "";
    state.reasoning = "";
    state.toolCalls.clear();
    state.usage = null;
    state.attempt = entry.attempt;
    state.marks = [{ kind: "restarted", attempt: entry.attempt, reason: entry.reason, offset: 0 }];
  },
  continued(state, entry) {
    state.attempt = entry.attempt;
    state.marks.push({ kind: "continued", attempt: entry.attempt, reason: entry.reason, offset: state.text.length });
  },
  waiting(state, entry) {
    state.waiting = { reason: entry.reason, retryAt: Date.parse(entry.retry_at) };
  },
  done(state, entry) {
    state.finishReason = entry.finish_reason || "";
  },
  failed(state, entry) {
    state.error = entry.error;
  },
  cancelled() {},
};

/** Applies one entry to `state`. An unknown kind changes nothing but the status. */
export function apply(state, entry) {
  if (entry.kind !== "waiting") state.waiting = null;
  state.wait = null;
  state.status = TERMINAL[entry.kind] || "running";
  APPLY[entry.kind]?.(state, entry);
  if (isTerminal(entry)) state.endedAt = Date.parse(entry.at);
}

/** Applies the job's record to `state`: it has fields that no entry has. `cursor`: the last entry applied. */
export function applyRecord(state, job, cursor) {
  // A record as new as the log decides the status: after its worker died, the job is queued again.
  if (!state.endedAt && job.last_entry === cursor && !job.ended_at) state.status = job.status;
  state.model ||= job.model;
  state.prompt = job.metadata?.prompt || state.prompt;
  state.wait = job.status === "queued" ? { ...job, position: job.queue_position } : null;
  state.cancelling = Boolean(job.cancel_requested_at);
  if (job.started_at) state.startedAt ||= Date.parse(job.started_at);
}
