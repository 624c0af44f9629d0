/** Batches: a dropped file becomes one, and its progress, failures and results are shown. */

import { BATCHES, client } from "../connection.js";
import { byId, element, setText } from "../dom.js";
import { statusName } from "../job/card.js";
import { drawParts } from "../job/charts.js";
import { counted, moment, t } from "../words.js";

const KNOWN_MOST = 50;
const AGAIN_MS = 1000;
const FAILURES_SHOWN = 20;
const ORDER = ["succeeded", "failed", "cancelled", "running", "queued"];

export class BatchesPage {
  #timer = 0;
  #open = "";
  #shown = 0;

  constructor({ refused }) {
    this.refused = refused;
    const drop = byId("drop");
    drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.dataset.over = "true";
    });
    drop.addEventListener("dragleave", () => (drop.dataset.over = "false"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.dataset.over = "false";
      this.#submit(event.dataTransfer.files[0]);
    });
    byId("batch-file").addEventListener("change", () => this.#submit(byId("batch-file").files[0]));
    byId("batch-cancel").addEventListener("click", () => this.#do(() => client().batches.cancel(this.#open)));
    byId("batch-download").addEventListener("click", () => this.#do(() => this.#download()));
  }

  show({ id }) {
    document.title = `${t("Batches")} · Spool`;
    this.leave();
    this.#open = id;
    this.#shown += 1;
    byId("batch").hidden = !id;
    byId("batch-failures").replaceChildren();
    byId("batch-failures-title").hidden = true;
    setText(byId("batch-error"), "");
    this.#list();
    if (id) this.#look(this.#shown);
  }

  leave() {
    clearTimeout(this.#timer);
    this.#shown += 1;
  }

  async #submit(file) {
    if (!file) return;
    setText(byId("batch-error"), "");
    try {
      const lines = linesOf(await file.text());
      const batch = await client().batches.submit(lines);
      keep({ id: batch.id, name: file.name, total: batch.total, at: Date.now() });
      location.hash = `#/batches/${batch.id}`;
    } catch (error) {
      const errors = error.problem?.errors?.slice(0, 5).map(({ field, detail }) => `${field}: ${detail}`);
      setText(byId("batch-error"), errors?.length ? errors.join("; ") : error.message);
      this.refused(error);
    }
    byId("batch-file").value = "";
  }

  async #look(shown) {
    try {
      const batch = await client().batches.get(this.#open);
      if (shown !== this.#shown) return;
      this.#draw(batch);
      if (batch.ended) return await this.#showFailures(batch, shown);
    } catch (error) {
      if (shown !== this.#shown) return;
      setText(byId("batch-error"), error.message);
      if ([401, 403, 404, 410].includes(error.status)) return this.refused(error);
    }
    this.#timer = setTimeout(() => this.#look(shown), AGAIN_MS);
  }

  #draw(batch) {
    const known = recall().find(({ id }) => id === batch.id);
    setText(byId("batch-title"), known?.name ?? batch.id);
    const done = ORDER.slice(0, 3).reduce((sum, status) => sum + (batch.counts[status] ?? 0), 0);
    const part = batch.total ? Math.floor((done / batch.total) * 100) : 100;
    setText(
      byId("batch-detail"),
      `${t("{n} of {m} lines ended", { n: counted(done), m: counted(batch.total) })} · ${part} %`,
    );
    const parts = ORDER.map((status) => ({ name: statusName(status), count: batch.counts[status] ?? 0, status }));
    drawParts(byId("batch-bar"), parts, batch.total);
    byId("batch-counts").replaceChildren(
      ...parts.map(({ name, count, status }) =>
        element(
          "div",
          {},
          element("dt", { className: "chip-status", "data-status": status }, name),
          element("dd", {}, counted(count)),
        ),
      ),
    );
    byId("batch-cancel").hidden = batch.ended;
    byId("batch-jobs").href = `#/jobs?batch=${batch.id}`;
  }

  async #showFailures(batch, shown) {
    if (!batch.counts.failed) return;
    const failed = [];
    for await (const job of client().batches.results(batch.id)) {
      if (shown !== this.#shown) return;
      if (job.status === "failed") failed.push(job);
      if (failed.length === FAILURES_SHOWN) break;
    }
    byId("batch-failures-title").hidden = false;
    byId("batch-failures").replaceChildren(
      ...failed.map((job) =>
        element(
          "li",
          {},
          element("strong", {}, t("line {n}", { n: (job.batch_index ?? 0) + 1 })),
          ` ${job.error?.message ?? ""}`,
        ),
      ),
    );
  }

  async #download() {
    const response = await fetch(`/batches/${this.#open}/results`);
    if (!response.ok) throw new Error((await response.json()).detail);
    const address = URL.createObjectURL(await response.blob());
    element("a", { href: address, download: `${this.#open}.jsonl` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  async #do(act) {
    setText(byId("batch-error"), "");
    try {
      await act();
    } catch (error) {
      setText(byId("batch-error"), error.message);
      this.refused(error);
    }
  }

  #list() {
    const known = recall();
    byId("batches").replaceChildren(...known.map((batch) => element("li", {}, this.#link(batch))));
    byId("batches-empty").hidden = known.length > 0;
  }

  #link({ id, name, total, at }) {
    const made = element(
      "a",
      { href: `#/batches/${id}`, title: id },
      element("span", { className: "job-title" }, name || id),
      element("span", { className: "hint" }, t("{n} lines", { n: counted(total) })),
      element("time", { dateTime: new Date(at).toISOString() }, moment(at)),
    );
    if (id === this.#open) made.setAttribute("aria-current", "true");
    return made;
  }
}

/** The lines of a JSONL file, or of a JSON array. Throws an error that names the line. */
export function linesOf(text) {
  if (text.trimStart().startsWith("[")) return JSON.parse(text);
  const lines = text.split("\n").filter((line) => line.trim());
  if (!lines.length) throw new Error(t("The file is empty."));
  return lines.map((line, index) => {
    try {
      return JSON.parse(line);
    } catch {
      throw new Error(t("Line {n} is not JSON.", { n: index + 1 }));
    }
  });
}

function recall() {
  try {
    return JSON.parse(localStorage.getItem(BATCHES)) ?? [];
  } catch {
    return [];
  }
}

const keep = (batch) => localStorage.setItem(BATCHES, JSON.stringify([batch, ...recall()].slice(0, KNOWN_MOST)));
