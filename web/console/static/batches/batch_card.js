/** The open batch: its state and counts as they change, its actions, its failures. */

import { client } from "../connection.js";
import { announce, byId, element, setText } from "../dom.js";
import { connectionName } from "../job/states.js";
import { nameOf as transportName } from "../job/transports.js";
import { counted, duration, moment, t } from "../words.js";
import { drawBar, drawCounts, drawState, endedOf, unsuccessful } from "./counts.js";
import { Failures } from "./failures.js";
import { nameOf } from "./names.js";
import { Pace } from "./pace.js";

const THROTTLE_MS = 200;
const ROUNDED_MS = 10_000;

export class BatchCard {
  #abort = new AbortController();
  #pace = new Pace();
  #wasEnded = true;

  /** `events`: `changed(batch)`, `refused(error)`, `deleted()`. */
  constructor(id, events) {
    Object.assign(this, { id, events });
    setText(byId("batch-title"), nameOf(id));
    for (const name of ["batch-failure", "batch-detail", "batch-facts", "batch-connection"]) setText(byId(name), "");
    for (const name of ["batch-bar", "batch-counts"]) byId(name).replaceChildren();
    byId("batch-body").hidden = true;
    byId("batch-state").hidden = true;
    byId("batch-download").href = `/batches/${id}/results`;
    byId("batch-download").download = `${id}.jsonl`;
    byId("batch-jobs").href = `#/jobs?batch=${id}`;
    this.failures = new Failures(id, this.#abort.signal);
    this.#begin().catch((error) => this.#refuse(error));
  }

  close() {
    this.#abort.abort(new Error("closed"));
    this.follow?.stop();
    byId("batch-delete-dialog").close();
  }

  /** A call of the client for this batch: `cancel`, `pause`, `resume`, `retry`. Returns its answer, if it succeeds. */
  async act(name) {
    setText(byId("batch-failure"), "");
    try {
      const answer = await client().batches[name](this.id);
      this.follow?.refresh();
      return answer;
    } catch (error) {
      this.#refuse(error);
    }
  }

  async delete() {
    try {
      await client().batches.delete(this.id);
      this.events.deleted();
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Saves the results of all lines that did not succeed. */
  async saveFailures() {
    const { signal } = this.#abort;
    const button = byId("batch-save-failures");
    button.disabled = true;
    try {
      const lines = [];
      for await (const job of client().batches.resultsSoFar(this.id, { signal }))
        if (job.status !== "succeeded") lines.push(`${JSON.stringify(job)}\n`);
      save(new Blob(lines, { type: "application/x-ndjson" }), `${this.id}-failures.jsonl`);
    } catch (error) {
      this.#refuse(error);
    }
    button.disabled = false;
  }

  async #begin() {
    const { signal } = this.#abort;
    const batch = await client().batches.get(this.id, { signal });
    this.#wasEnded = batch.ended;
    this.#draw(batch);
    this.follow = client().batches.follow(this.id, {
      signal,
      from: batch.last_entry,
      throttleMs: THROTTLE_MS,
      onEntry: (line) => this.failures.add(line),
      onChange: (view) => signal.aborted || this.#show(view),
    });
    if (!(batch.counts.failed || batch.counts.expired)) return;
    await this.failures.search(batch.last_entry || batch.total);
    if (!signal.aborted) this.failures.draw(this.follow.view.batch ?? batch);
  }

  #show(view) {
    this.#drawConnection(view);
    if (view.error) this.#refuse(view.error);
    if (!view.batch) return;
    this.#draw(view.batch);
    this.events.changed(view.batch);
    if (view.batch.ended && !this.#wasEnded) {
      this.#wasEnded = true;
      announce(t("The batch has ended."));
    }
  }

  #draw(batch) {
    const { ended, state, total } = batch;
    const done = endedOf(batch);
    byId("batch-body").hidden = false;
    byId("batch-state").hidden = false;
    drawState(byId("batch-state"), batch);
    this.#pace.add(done);
    const leftMs = batch.paused || ended ? null : this.#pace.leftMs(total);
    const details = [
      t("{n} of {m} lines ended", { n: counted(done), m: counted(total) }),
      `${total ? Math.floor((done / total) * 100) : 100} %`,
      leftMs === null ? "" : leftOf(leftMs),
    ];
    setText(byId("batch-detail"), details.filter(Boolean).join(" · "));
    setText(byId("batch-facts"), factsOf(batch).join(" · "));
    drawCounts(byId("batch-counts"), drawBar(byId("batch-bar"), batch));
    this.failures.draw(batch);
    const isOpen = !ended && state !== "cancelling";
    byId("batch-pause").hidden = !isOpen || batch.paused;
    byId("batch-resume").hidden = !isOpen || !batch.paused;
    byId("batch-cancel").hidden = !isOpen;
    byId("batch-delete").hidden = !ended;
    byId("batch-save-failures").hidden = unsuccessful(batch) === 0;
    byId("batch-retry").hidden = !ended || unsuccessful(batch) === 0;
  }

  #drawConnection({ connection, transport, isEnded }) {
    const label = byId("batch-connection");
    label.hidden = isEnded;
    label.dataset.connection = connection;
    const live = () => t("connected over {transport}", { transport: transportName(transport) });
    setText(label, connection === "live" && transport ? live() : connectionName(connection));
  }

  #refuse(error) {
    if (this.#abort.signal.aborted) return;
    setText(byId("batch-failure"), error.message);
    this.events.refused(error);
  }
}

const leftOf = (ms) =>
  ms < 60_000
    ? t("less than a minute left")
    : t("about {time} left", { time: duration(Math.round(ms / ROUNDED_MS) * ROUNDED_MS) });

function factsOf({ created_at, ended_at, expires_at, ended, usage, id }) {
  const { input_tokens = 0, output_tokens = 0 } = usage ?? {};
  return [
    id,
    t("submitted {time}", { time: moment(created_at) }),
    ended_at && t("ended {time}", { time: moment(ended_at) }),
    expires_at && !ended && t("expires {time}", { time: moment(expires_at) }),
    (input_tokens || output_tokens) &&
      t("{in} tokens in, {out} out", { in: counted(input_tokens), out: counted(output_tokens) }),
  ].filter(Boolean);
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
