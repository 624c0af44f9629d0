/** One job while it is open: its state, its follower and its view, tied together. */

import * as api from "./api.js";
import { byId, setText } from "./dom.js";
import { Follower } from "./follower.js";
import { apply, applyRecord, isTerminal, newState } from "./job_state.js";
import { announcement, JobView } from "./job_view.js";
import { Pace } from "./pace.js";
import { RawLog } from "./raw_log.js";
import { drawReader } from "./reader_view.js";

const LOOK_AGAIN_MS = 1500;
const rawLog = new RawLog(byId("raw-log"), byId("raw-entries"), byId("raw-count"));

export class Session {
  #open = true;

  /** `events`: `changed()` when the job's status did, `refused(problem)`. */
  constructor(jobId, transport, events) {
    this.events = events;
    this.state = newState(jobId);
    this.pace = new Pace();
    rawLog.clear();
    byId("raw-log").hidden = false;
    this.follower = new Follower(jobId, transport, {
      entry: (entry) => this.#entry(entry),
      notice: (document) => this.#notice(document),
      changed: () => this.view.schedule(),
      refused: (problem) => events.refused(problem),
    });
    this.view = new JobView(this.state, () => {
      drawReader(this.follower, this.pace);
      rawLog.draw();
    });
  }

  start() {
    this.follower.start();
    this.#look();
  }

  close() {
    this.#open = false;
    this.follower.stop();
    this.view.close();
  }

  async cancel() {
    this.#applyRecord(await api.cancel(this.state.jobId));
  }

  #applyRecord(job) {
    applyRecord(this.state, job, this.follower.cursor);
    this.view.schedule();
  }

  #entry(entry) {
    const before = this.state.status;
    apply(this.state, entry);
    if (entry.kind === "token" || entry.kind === "reasoning") this.pace.add(entry);
    rawLog.add(entry);
    this.view.schedule();
    const words = announcement(entry);
    if (words) setText(byId("announcer"), words);
    if (this.state.status !== before || isTerminal(entry)) this.events.changed();
  }

  #notice(document) {
    if (document.type === "queued") this.state.wait = document;
    if (document.type === "gap") setText(byId("announcer"), "Part of this job's log is missing.");
    this.view.schedule();
  }

  /** Polls the record for the prompt and, while the log is silent, for the status and the place in the queue. */
  async #look() {
    let seen = -1;
    while (this.#open && !this.state.endedAt && this.follower.connection !== "stopped") {
      if (this.follower.cursor === seen || seen < 0) await this.#lookOnce();
      seen = this.follower.cursor;
      await api.pause(LOOK_AGAIN_MS);
    }
  }

  async #lookOnce() {
    try {
      const job = await api.job(this.state.jobId);
      if (this.#open) this.#applyRecord(job);
    } catch {
      // The follower reports the error.
    }
  }
}
