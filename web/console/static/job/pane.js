/** One reader of a job: a connection of its own over a transport of its own, which can be cut, and what it has read. */

import { MarkdownView } from "../client/markdown.js";
import { client } from "../connection.js";
import { announce, copyOf, element, setText } from "../dom.js";
import createPurifier from "../vendor/dompurify.js";
import { Marked } from "../vendor/marked.js";
import { counted, t } from "../words.js";
import { ThreadView } from "./charts.js";
import { keepEndInSight } from "./sight.js";
import { connectionName } from "./states.js";
import { drawMarks, marksOf, Tape } from "./tape.js";
import { Trace } from "./trace.js";
import { CHOICES, listOf, nameOf, usable } from "./transports.js";
import { whyNoText } from "./wait_text.js";

const CUT_MS = 1500;
const MARKDOWN_EVERY_MS = 60;
const RESULT_SHOWN = 4000;
/** States that a screen reader is told of; the card announces a refusal. */
const LOST = new Set(["stopped", "waiting", "offline"]);

export class Pane {
  trace = new Trace();
  /** SHA-256 of the text once the job has ended, in hexadecimal; empty where the browser has none. */
  hash = "";
  #tape = null;
  #shown = { text: null, at: 0, costMs: 0, isWhole: false };
  #cutTimer = 0;
  #hasHash = false;
  #connection = "";
  #wasLost = false;

  /**
   * `events`: `entry(entry)`, `changed(view)`, `chosen()` when the transport was changed, `closed()`, and the bar's
   * actions on the job: `cancel()`, `handOver()`.
   */
  constructor(jobId, choice, events) {
    this.choice = usable(choice);
    this.events = events;
    const { root, part } = copyOf("pane");
    Object.assign(this, { root, part });
    this.thread = new ThreadView(part("thread"));
    this.markdown = new MarkdownView(part("answer"), { Marked, DOMPurify: createPurifier });
    this.follow = client().follow(jobId, {
      keep: false,
      transports: listOf(this.choice),
      onEntry: (document) => this.#document(document),
      onChange: (view) => this.#draw(view),
    });
    this.#buildTransports();
    part("cut").addEventListener("click", () => {
      if (part("cut").getAttribute("aria-disabled") !== "true") this.cut();
    });
    part("close").addEventListener("click", () => events.closed());
    part("cancel").addEventListener("click", () => events.cancel());
    part("hand-over").addEventListener("click", () => events.handOver());
    part("hand-over").title = part("hand-over").textContent;
    part("play-1").addEventListener("click", () => this.#play(1));
    part("play-4").addEventListener("click", () => this.#play(4));
    part("play-stop").addEventListener("click", () => this.#tape?.stop());
    this.#draw(this.follow.view);
  }

  get view() {
    return this.follow.view;
  }

  /** Drops the connection, as a tunnel or a deployment would, and reconnects after CUT_MS. */
  cut() {
    this.follow.stop();
    clearTimeout(this.#cutTimer);
    this.#cutTimer = setTimeout(() => this.follow.start(), CUT_MS);
  }

  close() {
    clearTimeout(this.#cutTimer);
    this.#tape?.stop();
    this.follow.stop();
    this.root.remove();
  }

  #buildTransports() {
    const select = this.part("transport");
    select.append(...Object.keys(CHOICES).map((name) => this.#option(name)));
    select.addEventListener("change", () => {
      this.choice = select.value;
      this.follow.use(listOf(this.choice));
      this.events.chosen();
    });
  }

  #option(name) {
    const { name: label, hint } = CHOICES[name];
    return element("option", { value: name, selected: name === this.choice, title: hint() }, label());
  }

  #document(document) {
    if (document.kind) {
      const { transport, connections } = this.follow.view;
      this.trace.add(document, transport, connections);
    }
    this.events.entry(document, this);
  }

  #draw(view) {
    this.#drawBar(view);
    if (!this.#tape) {
      this.#drawReasoning(view.reasoning, Boolean(view.text) || view.isEnded);
      this.#drawToolCalls(view.toolCalls);
      this.#drawResult(view.result);
      this.#drawText(view.text, view.isEnded, this.trace.marks);
    }
    if (view.isEnded && !this.#hasHash) this.#finish(view.text);
    this.events.changed(view, this);
  }

  #drawBar(view) {
    const connection = this.part("connection");
    connection.dataset.connection = view.connection;
    const over =
      view.transport && view.connection === "live"
        ? t("connected over {transport}", { transport: nameOf(view.transport) })
        : "";
    setText(connection, over || connectionName(view.connection));
    setText(this.part("last"), counted(view.lastEntry));
    setText(this.part("reconnects"), counted(Math.max(0, view.connections - 1)));
    setText(this.part("irregular"), counted(this.trace.irregular));
    this.part("irregular").dataset.bad = String(this.trace.irregular > 0);
    const isKnown = view.connection !== "refused";
    // A hidden or disabled button drops the focus, and with it the place of a keyboard's user.
    const isLeft = this.part("bar").contains(document.activeElement) && (view.isEnded || !isKnown);
    this.part("cancel").hidden = view.isEnded || !isKnown;
    this.part("cancel").disabled = Boolean(view.job?.cancel_requested_at);
    this.part("hand-over").hidden = !isKnown;
    this.part("cut").disabled = view.isEnded || !isKnown;
    this.part("cut").setAttribute("aria-disabled", String(view.connection === "stopped"));
    if (isLeft && !this.root.contains(focusable(document.activeElement))) this.part("transport").focus();
    this.thread.draw(this.trace.stretches, Math.max(view.lastEntry, view.job?.last_entry ?? 0));
    setText(this.part("note"), this.#note(view));
    this.#announce(view.connection, connection.textContent);
  }

  /** Announces that the connection was cut or lost, and that it is back; the card announces the job's end. */
  #announce(connection, name) {
    if (connection === this.#connection) return;
    this.#connection = connection;
    const isLost = LOST.has(connection);
    const note = this.part("note").textContent;
    if (isLost || (connection === "live" && this.#wasLost)) announce(note || name);
    this.#wasLost = isLost || (this.#wasLost && connection !== "live");
  }

  #note(view) {
    const { connection, lastEntry, trouble, error, connections } = view;
    if (connection === "stopped") return t("Cut after entry {n}. The job continues.", { n: lastEntry });
    if (connection === "offline") return t("This device is offline. The job continues.");
    if (connection === "waiting")
      return trouble ? `${t("Connection lost after entry {n}.", { n: lastEntry })} ${trouble.message}` : "";
    if (connection === "refused") return error?.message ?? "";
    if (view.isEnded) return this.#summary(view);
    return connection === "live" && connections > 1
      ? t("Reconnected. Continuing after entry {n}.", { n: this.trace.stretches.at(-1)?.to ?? lastEntry })
      : "";
  }

  #summary({ incomplete }) {
    const { stretches, last, irregular } = this.trace;
    if (incomplete) return t("Part of this job's log is missing. The text is its record's.");
    if (irregular) return t("{n} entries are duplicate or missing.", { n: irregular });
    return stretches.length > 1
      ? t("{n} entries over {m} connections: each once, in order.", { n: last, m: stretches.length })
      : t("{n} entries over one connection: each once, in order.", { n: last });
  }

  #drawReasoning(text, isOver) {
    const box = this.part("reasoning-box");
    box.hidden = !text;
    setText(this.part("reasoning"), text);
    setText(box.firstElementChild, isOver ? t("Reasoning") : `${t("Reasoning")} …`);
  }

  #drawToolCalls(calls) {
    const box = this.part("tool-calls");
    box.hidden = !calls.length;
    calls.forEach((call, index) => {
      const shown = box.children[index] ?? box.appendChild(toolCall());
      setText(shown.querySelector("strong"), call.name);
      setText(shown.querySelector("code"), call.arguments);
    });
    while (box.children.length > calls.length) box.lastChild.remove();
  }

  /** The beginning of a result: an embedding has thousands of numbers, a picture megabytes. */
  #drawResult(result) {
    this.part("result-box").hidden = !result;
    const rest = result.length - RESULT_SHOWN;
    const said = rest > 0 ? `${result.slice(0, RESULT_SHOWN)} … ${t("{n} more characters", { n: counted(rest) })}` : result;
    setText(this.part("result"), said);
  }

  #drawText(text, isWhole, marks = []) {
    setText(this.part("placeholder"), text ? "" : whyNoText(this.follow.view));
    this.part("answer").classList.toggle("streaming", !isWhole && text.length > 0);
    const shown = this.#shown;
    if (text === shown.text && isWhole === shown.isWhole) return;
    // Drawing a long answer is slow, so it takes at most a fifth of the time.
    const dueInMs = shown.at + Math.max(MARKDOWN_EVERY_MS, 4 * shown.costMs) - performance.now();
    if (dueInMs > 0 && !isWhole) {
      this.redraw ??= setTimeout(() => {
        this.redraw = null;
        if (!this.#tape) this.#draw(this.follow.view);
      }, dueInMs);
      return;
    }
    const began = performance.now();
    const labels = marks
      .filter(({ kind }) => kind === "continued")
      .map(({ offset, attempt }) => ({ offset, label: t("attempt {n} continues here", { n: attempt }) }));
    keepEndInSight(this.root, () => this.markdown.show(text, isWhole, labels));
    this.#shown = { text, isWhole, at: performance.now(), costMs: performance.now() - began };
  }

  /** The offset of the text at the top of the window; the end of the text if its end is visible. */
  get place() {
    const text = this.follow.view.text.trimEnd();
    const isEndInSight = this.root.getBoundingClientRect().bottom <= innerHeight;
    return isEndInSight ? text.length : Math.min(text.length, this.markdown.offsetAt(this.part("bar").offsetHeight));
  }

  async #finish(text) {
    this.#hasHash = true;
    const { entries, stretches } = this.trace;
    this.part("tape").hidden = entries.length < 2;
    if (entries.length > 1)
      drawMarks(this.part("play-marks"), marksOf(entries, stretches), Date.parse(entries[0].at));
    // Browsers hash only in secure contexts: localhost and HTTPS.
    if (!globalThis.crypto?.subtle) return;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    this.hash = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
    setText(this.part("hash"), this.hash.slice(0, 16));
    this.events.changed(this.follow.view, this);
  }

  #play(speed) {
    this.#tape ??= new Tape(this.trace.entries, {
      show: (state, progress) => {
        this.part("play-at").value = progress;
        this.#drawReasoning(state.reasoning, Boolean(state.text));
        this.#drawToolCalls(state.toolCalls);
        this.#drawText(state.text, false);
      },
      done: () => this.#stopped(),
    });
    this.part("play-stop").hidden = false;
    this.#tape.play(speed);
  }

  #stopped() {
    this.#tape = null;
    this.part("play-stop").hidden = true;
    this.part("play-at").value = 0;
    this.#draw(this.follow.view);
  }
}

/** The element, or null where it can no longer have the focus. */
const focusable = (node) => (node.disabled || !node.checkVisibility() ? null : node);

const toolCall = () =>
  element("div", { className: "tool-call" }, element("strong"), element("pre", {}, element("code")));
