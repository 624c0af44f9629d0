/** Shows one job: its text, status and result. Draws at most once per frame, Markdown less often. */

import { byId, element, setText } from "./dom.js";
import { isTerminal } from "./job_state.js";
import { MarkdownView } from "./markdown.js";
import { placeOf, reasonOf } from "./wait_text.js";

const MARKDOWN_EVERY_MS = 70;
const NEAR_END_PX = 48;

export class JobView {
  #markdown = new MarkdownView(byId("answer"));
  #shownLength = -1;
  #shownAt = 0;
  #costMs = 0;
  #notes = "";
  #scheduled = 0;
  #follows = true;

  constructor(state, extras) {
    this.state = state;
    /** Draws other views in the same frame. */
    this.extras = extras;
    this.box = byId("answer-box");
    this.box.onscroll = () => {
      this.#follows = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR_END_PX;
    };
    byId("answer").replaceChildren();
    byId("tool-calls").replaceChildren();
    byId("job").hidden = false;
    byId("welcome").hidden = true;
    setText(byId("job-id"), state.jobId);
  }

  /** Draw soon. */
  schedule() {
    this.#scheduled ||= requestAnimationFrame(() => {
      this.#scheduled = 0;
      this.#draw();
    });
  }

  close() {
    cancelAnimationFrame(this.#scheduled);
    this.#scheduled = -1;
  }

  #draw() {
    this.#drawHead();
    this.#drawNotes();
    this.#drawReasoning();
    this.#drawToolCalls();
    this.#drawText();
    this.#drawEnd();
    this.extras();
  }

  #drawHead() {
    const { state } = this;
    const chip = byId("status");
    chip.dataset.status = state.status;
    setText(chip, state.status);
    const details = [
      state.model,
      state.attempt ? `attempt ${state.attempt}` : "",
      state.status === "queued" ? placeOf(state.wait) : "",
      state.cancelling && !state.endedAt ? "cancelling" : "",
      state.endedAt && state.startedAt ? `${((state.endedAt - state.startedAt) / 1000).toFixed(1)} s` : "",
    ];
    setText(byId("job-detail"), details.filter(Boolean).join(" · "));
    setText(byId("job-prompt"), state.prompt);
    byId("job-prompt").hidden = !state.prompt;
    byId("cancel").disabled = Boolean(state.endedAt) || state.cancelling;
  }

  #drawNotes() {
    const notes = this.state.marks.map(({ kind, attempt, reason }) =>
      kind === "restarted"
        ? `Attempt ${attempt} restarted (${reason}). The text of the earlier attempt no longer counts.`
        : `Attempt ${attempt} continued the text of the earlier attempt (${reason}).`,
    );
    const { waiting } = this.state;
    if (waiting) notes.push(`Waiting until ${new Date(waiting.retryAt).toLocaleTimeString()}: ${waiting.reason}`);
    if (notes.join("\n") === this.#notes) return;
    this.#notes = notes.join("\n");
    byId("notes").replaceChildren(...notes.map((note) => element("p", {}, note)));
  }

  #drawReasoning() {
    const box = byId("reasoning-box");
    box.hidden = !this.state.reasoning;
    setText(byId("reasoning-text"), this.state.reasoning);
    setText(box.firstElementChild, this.state.text || this.state.endedAt ? "Reasoning" : "Reasoning …");
  }

  #drawToolCalls() {
    const box = byId("tool-calls");
    box.hidden = !this.state.toolCalls.size;
    [...this.state.toolCalls.values()].forEach((call, index) => {
      const shown = box.children[index] ?? box.appendChild(toolCall());
      setText(shown.querySelector("strong"), call.name);
      setText(shown.querySelector("code"), call.arguments);
    });
    while (box.children.length > this.state.toolCalls.size) box.lastChild.remove();
  }

  #drawText() {
    const { text, endedAt, marks } = this.state;
    const answer = byId("answer");
    answer.classList.toggle("streaming", !endedAt && text.length > 0);
    setText(byId("placeholder"), text ? "" : this.#whyNoText());
    if (text.length === this.#shownLength) return;
    const due = this.#shownAt + Math.max(MARKDOWN_EVERY_MS, 4 * this.#costMs);
    if (performance.now() < due && !endedAt) {
      this.schedule();
      return;
    }
    const labels = marks
      .filter(({ kind }) => kind === "continued")
      .map(({ offset, attempt }) => ({ offset, label: `attempt ${attempt} continues here` }));
    const began = performance.now();
    this.#markdown.show(text, labels);
    this.#costMs = performance.now() - began;
    this.#shownAt = performance.now();
    this.#shownLength = text.length;
    if (this.#follows) this.box.scrollTop = this.box.scrollHeight;
  }

  #whyNoText() {
    const { status, reasoning, wait } = this.state;
    if (status === "queued") return `Queued. ${reasonOf(wait)}`;
    if (status === "running") return reasoning ? "Thinking …" : "Running. Waiting for the first token.";
    return status === "succeeded" ? "The answer is empty." : "";
  }

  #drawEnd() {
    const { error, usage, status, endedAt, finishReason } = this.state;
    const failure = byId("failure");
    failure.hidden = !error && status !== "cancelled";
    failure.dataset.status = status;
    if (error) setText(failure, `${error.message} (${error.code}${error.retryable ? ", retryable" : ""})`);
    if (status === "cancelled") setText(failure, "Cancelled. The text generated so far is kept.");
    const counted = usage ? `${usage.input_tokens} tokens in, ${usage.output_tokens} out` : "";
    setText(byId("usage"), [counted, endedAt && finishReason].filter(Boolean).join(" · "));
  }
}

const toolCall = () =>
  element("div", { className: "tool-call" }, element("strong"), element("pre", {}, element("code")));

/** The screen reader's announcement of an entry, or an empty string: status changes, not tokens. */
export function announcement(entry) {
  if (entry.kind === "started") return "The job is running.";
  if (entry.kind === "restarted") return `Attempt ${entry.attempt} restarted.`;
  if (entry.kind === "waiting") return "The model is temporarily unavailable. Waiting.";
  return isTerminal(entry) ? `The job has ended: ${entry.kind}.` : "";
}
