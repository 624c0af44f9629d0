/** The state that a job's entries add up to. Pure: entries in, state out. */

const TERMINAL = { done: "succeeded", failed: "failed", cancelled: "cancelled" };

export const isTerminal = (entry) => entry.kind in TERMINAL;
export const isEnd = (status) => Object.values(TERMINAL).includes(status);

/** The state before the first entry. Everything in it can be stored as JSON. */
export const newState = (after = 0) => ({
  cursor: after,
  status: "queued",
  attempt: 0,
  text: "",
  reasoning: "",
  toolCalls: [],
  /** The JSON text that the upstream answered to one request, such as one for embeddings; empty for a text. */
  result: "",
  usage: null,
  finishReason: null,
  failure: null,
  waiting: null,
  queue: null,
  notice: null,
  /** Whether entries are missing: the log had lost them, or a plain answer brought only the text. */
  incomplete: false,
});

const APPLY = {
  started: (state, { attempt }) => Object.assign(state, { attempt }),
  continued: (state, { attempt }) => Object.assign(state, { attempt }),
  restarted: (state, { attempt }) =>
    Object.assign(state, { ...newState(), attempt, cursor: state.cursor, status: state.status, notice: state.notice }),
  token: (state, { text }) => (state.text += text),
  reasoning: (state, { text }) => (state.reasoning += text),
  tool_call: addToolCall,
  result: (state, { body }) => (state.result += body),
  usage: (state, { id, kind, at, ...usage }) => Object.assign(state, { usage }),
  waiting: (state, { reason, retry_at }) => (state.waiting = { reason, retryAt: retry_at }),
  done: (state, { finish_reason }) => (state.finishReason = finish_reason ?? null),
  failed: (state, { error }) => (state.failure = error),
  cancelled: () => {},
};

/** Apply one entry to `state`. An unknown kind moves the cursor and changes nothing else. */
export function apply(state, entry) {
  state.cursor = entry.id;
  state.waiting = null;
  state.queue = null;
  state.status = TERMINAL[entry.kind] || "running";
  if (Object.hasOwn(APPLY, entry.kind)) APPLY[entry.kind](state, entry);
}

function addToolCall(state, { index, call_id, name, arguments: piece }) {
  const before = state.toolCalls.find((call) => call.index === index) ?? { index, id: "", name: "", arguments: "" };
  const call = {
    index,
    id: call_id || before.id,
    name: name || before.name,
    arguments: before.arguments + (piece || ""),
  };
  // A new array and object each time, so that earlier views do not change.
  const others = state.toolCalls.filter((other) => other.index !== index);
  state.toolCalls = [...others, call].sort((a, b) => a.index - b.index);
}

/** Change `state` to a snapshot: the text that counts after entry `last`. */
export function applySnapshot(state, { last, text, reasoning, attempt, result }) {
  Object.assign(state, { cursor: last, text, attempt });
  if (result !== undefined) state.result = result;
  if (reasoning === undefined) state.incomplete = true;
  else state.reasoning = reasoning;
}
