/** The open job: its head and actions, one or two readers, and the figures of the first. */

import { client, kill, session, submissionOf, workerOf } from "../connection.js";
import { announce, byId, copyText, element, setText } from "../dom.js";
import { counted, duration, moment, t } from "../words.js";
import { drawGaps, drawLine } from "./charts.js";
import { Pane } from "./pane.js";
import { RawLog } from "./raw_log.js";
import { statusName } from "./states.js";
import { Timeline } from "./timeline.js";
import { curlOf } from "./transports.js";
import { placeOf } from "./wait_text.js";

/** The shortest pause between tokens that counts as a gap, and the time after a kill after which none is expected. */
const [GAP_MS, NO_GAP_MS] = [400, 4000];

/** The first transport of a second reader, which differs from that of the first reader. */
const OTHER = { auto: "long", sse: "long", ndjson: "sse", websocket: "sse", long: "sse", short: "sse" };

export class JobCard {
  panes = [];
  #isOpen = true;
  #status = "";
  #killedAt = 0;
  #heardAt = performance.now();

  /**
   * `events`: `changed()` when the status did, `addressed(via, and)`, `refused(error)`, `again(submission)`, `cancel()`,
   * and `handOver(place)` with the offset in the text at which the reader is.
   */
  constructor(jobId, [via, and], events) {
    Object.assign(this, { id: jobId, events });
    byId("panes").replaceChildren();
    byId("raw-entries").replaceChildren();
    byId("history").replaceChildren();
    byId("gaps").replaceChildren();
    byId("notes").replaceChildren();
    this.timeline = new Timeline(byId("history"));
    this.rawLog = new RawLog(byId("raw-log"), byId("raw-entries"), byId("raw-count"));
    for (const name of ["job", "figures"]) byId(name).hidden = false;
    byId("welcome").hidden = true;
    setText(byId("job-id"), jobId);
    setText(byId("action-error"), "");
    this.#add(via);
    if (and) this.#add(and);
    // The rate falls to zero without any entry.
    this.ticking = setInterval(() => this.#drawFigures(), 500);
  }

  close() {
    this.#isOpen = false;
    clearInterval(this.ticking);
    for (const pane of this.panes) pane.close();
  }

  /** A second reader beside the first, over another transport. */
  addReader() {
    this.#add(OTHER[this.panes[0].choice]);
    this.#addressed();
    this.panes[1].root.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  async cancel() {
    await client().cancel(this.id);
    this.panes[0].follow.start();
  }

  /** Kills a process of a local demo. The history shows the kill, and the first token after it. */
  async kill(part) {
    const { process } = await kill(part, this.id);
    const [{ trace }] = this.panes;
    this.#killedAt = performance.now();
    trace.events.push({ kind: "killed", at: Date.now(), part, process });
    this.#schedule();
  }

  /** Records the first gap between tokens after a kill and the process that ended it, or that there was no gap. */
  async #heard(now) {
    const gap = now - this.#heardAt;
    this.#heardAt = now;
    const isOver = now - this.#killedAt > NO_GAP_MS;
    if (!this.#killedAt || (gap < GAP_MS && !isOver)) return;
    this.#killedAt = 0;
    const at = Date.now();
    const process = await workerOf(this.id).catch(() => 0);
    this.panes[0]?.trace.events.push({ kind: "resumed", at, gap: gap < GAP_MS ? 0 : gap, process });
    this.#schedule();
  }

  async copyAnswer() {
    announce((await copyText(this.panes[0].view.text)) ? t("Copied.") : t("The browser refused to copy."));
  }

  again() {
    const submission = submissionOf(this.id);
    if (submission) this.events.again(submission);
  }

  get curl() {
    return curlOf(this.panes[0].choice, this.id, this.panes[0].view.isEnded ? 0 : this.panes[0].view.lastEntry);
  }

  #add(choice) {
    const pane = new Pane(this.id, choice, {
      entry: (document, from) => this.#entry(document, from),
      changed: () => this.#schedule(),
      chosen: () => this.#addressed(),
      closed: () => this.#remove(pane),
      cancel: () => this.events.cancel(),
      handOver: () => this.events.handOver(pane.place),
    });
    this.panes.push(pane);
    byId("panes").append(pane.root);
    this.#arrange();
  }

  #remove(pane) {
    pane.close();
    this.panes = this.panes.filter((other) => other !== pane);
    this.#arrange();
    this.#addressed();
    this.#schedule();
  }

  #arrange() {
    const areTwo = this.panes.length > 1;
    byId("panes").dataset.readers = String(this.panes.length);
    byId("second").hidden = areTwo;
    this.panes.forEach((pane, index) => {
      pane.part("close").hidden = !areTwo;
      pane.root.setAttribute("aria-label", t("Reader {n}", { n: index + 1 }));
    });
  }

  #addressed() {
    this.events.addressed(this.panes[0].choice, this.panes[1]?.choice ?? "");
  }

  #entry(document, pane) {
    if (pane !== this.panes[0]) return;
    if (document.kind === "token") this.#heard(performance.now());
    const said = announcement(document);
    if (said) announce(said);
  }

  #schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (this.#isOpen && this.panes.length) this.#draw();
    });
  }

  #draw() {
    const [{ view }] = this.panes;
    const isKnown = view.connection !== "refused";
    byId("job").dataset.known = String(isKnown);
    byId("figures").hidden = !isKnown;
    byId("second").hidden = !isKnown || this.panes.length > 1;
    this.#drawHead(view, isKnown);
    this.#drawNotes(view);
    this.#drawEnd(view);
    this.#drawComparison();
    this.#drawFigures();
    if (!isKnown) this.#refuse(view.error);
    if (view.status !== this.#status) {
      this.#status = view.status;
      this.events.changed(view);
    }
  }

  #refuse(error) {
    setText(byId("action-error"), error?.message ?? "");
    if (this.refused !== error) this.events.refused(error);
    this.refused = error;
  }

  #drawHead(view, isKnown) {
    const chip = byId("status");
    const status = isKnown ? view.status : "unknown";
    chip.dataset.status = status;
    setText(chip, isKnown ? statusName(status) : t("not available"));
    const { job } = view;
    const isCancelling = job?.cancel_requested_at && !view.isEnded;
    const took = job?.ended_at && job.started_at ? duration(Date.parse(job.ended_at) - Date.parse(job.started_at)) : "";
    const details = [
      job?.model,
      view.attempt > 1 ? t("attempt {n}", { n: view.attempt }) : "",
      view.status === "queued" ? placeOf(view.queue) : "",
      isCancelling ? t("cancelling") : "",
      took,
    ];
    setText(byId("job-detail"), details.filter(Boolean).join(" · "));
    const prompt = submissionOf(this.id)?.prompt ?? job?.metadata?.prompt ?? "";
    setText(byId("job-prompt"), prompt);
    byId("job-prompt").hidden = !prompt;
    byId("kills").hidden = view.status !== "running" || !session().local_demo;
  }

  #drawNotes({ waiting, notice }) {
    const notes = this.panes[0].trace.marks.map(({ kind, attempt, reason }) =>
      kind === "restarted"
        ? t("Attempt {attempt} restarted ({reason}). The text of the earlier attempt no longer counts.", {
            attempt,
            reason,
          })
        : t("Attempt {attempt} continued the text of the earlier attempt ({reason}).", { attempt, reason }),
    );
    if (waiting)
      notes.push(t("Waiting until {time}: {reason}", { time: moment(waiting.retryAt), reason: waiting.reason }));
    if (notice) notes.push(notice.detail ?? notice.message ?? "");
    const drawn = notes.join("\n");
    if (drawn === this.notes) return;
    this.notes = drawn;
    byId("notes").replaceChildren(...notes.map((note) => element("p", {}, note)));
  }

  #drawEnd({ error, usage, status, isEnded, finishReason, connection, text }) {
    const failure = byId("failure");
    const isFailed = status === "failed" && error && connection !== "refused";
    failure.hidden = !isFailed && status !== "cancelled";
    failure.dataset.status = status;
    if (isFailed) setText(failure, `${error.message} (${error.code}${error.retryable ? `, ${t("retryable")}` : ""})`);
    if (status === "cancelled") setText(failure, t("Cancelled. The text generated so far is kept."));
    const tokens = usage ? t("{in} tokens in, {out} out", { in: usage.input_tokens, out: usage.output_tokens }) : "";
    setText(byId("usage"), [tokens, isEnded && finishReason].filter(Boolean).join(" · "));
    byId("again").hidden = !isEnded || !submissionOf(this.id);
    byId("reply").hidden = status !== "succeeded";
    byId("copy-text").hidden = !isEnded || !text;
  }

  /** Shows whether two readers at the end of the log have the same entries. */
  #drawComparison() {
    const box = byId("comparison");
    const [first, second] = this.panes;
    box.hidden = !(second && first.view.isEnded && second.view.isEnded);
    if (box.hidden) return;
    const isSame = first.view.text === second.view.text && sameEntries(first.trace, second.trace);
    box.dataset.same = String(isSame);
    const hash = first.hash && first.hash === second.hash ? ` SHA-256 ${first.hash.slice(0, 16)}` : "";
    const said = isSame
      ? t("Both readers have the same {n} entries, byte for byte.", { n: first.trace.last })
      : t("The readers differ.");
    setText(box, said + hash);
  }

  #drawFigures() {
    const [{ trace, view }] = this.panes;
    const created = Date.parse(view.job?.created_at ?? "");
    setText(byId("first-token"), trace.firstTokenAt && created ? duration(trace.firstTokenAt - created) : "–");
    setText(byId("rate-now"), trace.tokens ? rateText(trace.rate) : "–");
    drawLine(byId("rate-line"), trace.series);
    drawGaps(byId("gaps"), trace.gaps);
    this.timeline.draw(view.job, trace);
    this.rawLog.draw(trace);
    setText(byId("curl"), this.curl);
  }
}

const rateText = (rate) => (rate < 10 ? rate.toFixed(1) : counted(Math.round(rate)));

function sameEntries(first, second) {
  if (first.last !== second.last || first.entries.length !== second.entries.length) return false;
  return first.entries.every((entry, index) => JSON.stringify(entry) === JSON.stringify(second.entries[index]));
}

/** The announcement of an entry for screen readers: changes of the status, not tokens. Empty for other entries. */
function announcement({ kind, type, attempt }) {
  if (type === "gap") return t("Part of this job's log is missing.");
  if (kind === "started") return t("The job is running.");
  if (kind === "restarted") return t("Attempt {n} restarted.", { n: attempt });
  if (kind === "continued") return t("Attempt {n} continues.", { n: attempt });
  if (kind === "waiting") return t("The model's server is not ready. Waiting.");
  const ends = {
    done: t("The job has succeeded."),
    failed: t("The job has failed."),
    cancelled: t("The job was cancelled."),
  };
  return ends[kind] ?? "";
}
