/** Batches: a dropped file becomes one; a list of the caller's, as it changes, and one of them in detail. */

import { BatchCard } from "../batches/batch_card.js";
import { drawBar, drawState, endedOf } from "../batches/counts.js";
import { checkBeginning } from "../batches/file_check.js";
import { blankLines, lineOf } from "../batches/file_lines.js";
import { keepFile, nameOf } from "../batches/names.js";
import { Upload } from "../batches/upload.js";
import { client } from "../connection.js";
import { byId, element, setText } from "../dom.js";
import { counted, moment, t } from "../words.js";

const [BUSY_MS, IDLE_MS] = [2000, 6000];
const PAGE = 20;
const ERRORS_SHOWN = 20;

export class BatchesPage {
  #timer = 0;
  #shown = 0;
  #known = [];
  #cursor = null;
  #card = null;
  #upload = null;

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
    byId("upload-stop").addEventListener("click", () => this.#upload?.stop());
    for (const name of ["pause", "resume", "cancel"])
      byId(`batch-${name}`).addEventListener("click", () => this.#card.act(name).then(() => this.#refresh()));
    byId("batch-retry").addEventListener("click", async () => {
      const retry = await this.#card.act("retry");
      if (retry) location.hash = `#/batches/${retry.id}`;
    });
    byId("batch-save-failures").addEventListener("click", () => this.#card.saveFailures());
    byId("batch-delete").addEventListener("click", () => byId("batch-delete-dialog").showModal());
    byId("batch-delete-no").addEventListener("click", () => byId("batch-delete-dialog").close());
    byId("batch-delete-yes").addEventListener("click", () => this.#card.delete());
    byId("batches-more").addEventListener("click", () => this.#more());
  }

  show({ id }) {
    document.title = `${t("Batches")} · Spool`;
    this.leave();
    byId("batch").hidden = !id;
    if (id) this.#open(id);
    this.#draw();
    this.#refresh();
  }

  leave() {
    clearTimeout(this.#timer);
    this.#shown += 1;
    this.#card?.close();
    this.#card = null;
  }

  #open(id) {
    this.#card = new BatchCard(id, {
      changed: (batch) => {
        this.#known = this.#known.map((known) => (known.id === id ? batch : known));
        this.#draw();
      },
      refused: this.refused,
      deleted: () => (location.hash = "#/batches"),
    });
  }

  async #submit(file) {
    if (!file || this.#upload) return;
    this.#showErrors(null);
    let blanks = null;
    try {
      const { type } = await checkBeginning(file);
      if (type !== "application/json") blanks = await blankLines(file);
      const options = { on_bad_line: byId("on-bad-line").value, completion_window: byId("completion-window").value };
      this.#upload = new Upload(file, type, options, (fraction) => this.#drawUpload(file, fraction));
      this.#drawUpload(file, 0);
      const batch = await this.#upload.run();
      if (batch) {
        keepFile(batch.id, file.name, blanks);
        location.hash = `#/batches/${batch.id}`;
      }
    } catch (error) {
      this.#showErrors(error, blanks);
      this.refused(error);
    }
    this.#upload = null;
    byId("batch-file").value = "";
    byId("upload").hidden = true;
    byId("drop").hidden = false;
  }

  #drawUpload(file, fraction) {
    byId("upload").hidden = false;
    byId("drop").hidden = true;
    if (fraction === null || fraction >= 1) byId("upload-at").removeAttribute("value");
    else byId("upload-at").value = fraction;
    const name = file.name;
    const note =
      fraction === null
        ? t("The connection was lost. {name} will be sent again.", { name })
        : fraction < 1
          ? t("Uploading {name}: {part} %", { name, part: Math.floor(fraction * 100) })
          : t("{name} is uploaded. The server checks its lines.", { name });
    setText(byId("upload-note"), note);
  }

  #showErrors(error, blanks = null) {
    const unreachable = t("The server cannot be reached, or does not take a file of this size.");
    const errors = error?.problem?.errors?.slice(0, ERRORS_SHOWN) ?? [];
    const message = errors.length ? t("Nothing was submitted:") : error?.message || unreachable;
    setText(byId("batch-error"), error ? message : "");
    byId("batch-errors").replaceChildren(
      ...errors.map(({ field, detail }) => element("li", {}, element("strong", {}, fieldName(field, blanks)), ` ${detail}`)),
    );
  }

  async #refresh() {
    clearTimeout(this.#timer);
    const shown = (this.#shown += 1);
    try {
      const page = await client().batches.list({ limit: PAGE });
      if (shown !== this.#shown) return;
      const ids = new Set(page.batches.map(({ id }) => id));
      const last = page.batches.at(-1)?.created_at ?? "";
      const older = page.cursor ? this.#known.filter(({ id, created_at }) => !ids.has(id) && created_at <= last) : [];
      this.#known = [...page.batches, ...older];
      if (!older.length) this.#cursor = page.cursor;
      setText(byId("batches-error"), "");
      this.#draw();
      byId("batches-empty").hidden = this.#known.length > 0;
    } catch (error) {
      if (shown !== this.#shown) return;
      setText(byId("batches-error"), error.message);
      this.refused(error);
    }
    const isBusy = this.#known.some(({ ended }) => !ended);
    this.#timer = setTimeout(() => this.#refresh(), isBusy ? BUSY_MS : IDLE_MS);
  }

  async #more() {
    try {
      const page = await client().batches.list({ limit: PAGE, cursor: this.#cursor });
      this.#known.push(...page.batches);
      this.#cursor = page.cursor;
      this.#draw();
    } catch (error) {
      setText(byId("batches-error"), error.message);
      this.refused(error);
    }
  }

  #draw() {
    const list = byId("batches");
    const rows = new Map([...list.children].map((row) => [row.dataset.batch, row]));
    const drawn = this.#known.map((batch) => this.#row(batch, rows.get(batch.id) ?? rowOf(batch)));
    // Inserting a row again would drop the focus.
    if (list.children.length !== drawn.length || drawn.some((row, n) => row !== list.children[n]))
      list.replaceChildren(...drawn);
    byId("batches-more").hidden = !this.#cursor;
  }

  #row(batch, row) {
    const part = (name) => row.querySelector(`[data-part="${name}"]`);
    setText(part("name"), nameOf(batch.id));
    drawState(part("state"), batch);
    drawBar(part("bar"), batch);
    setText(part("ended"), t("{n} of {m}", { n: counted(endedOf(batch)), m: counted(batch.total) }));
    if (batch.id === this.#card?.id) part("link").setAttribute("aria-current", "true");
    else part("link").removeAttribute("aria-current");
    return row;
  }
}

/** A wrong field of the body, such as `[1].prompt`, with its line in the file where that is known. */
function fieldName(field, blanks) {
  const [, index, rest] = /^\[(\d+)\]\.?(.*)$/.exec(field) ?? [];
  if (index === undefined) return field;
  const place = blanks
    ? t("line {n}", { n: counted(lineOf(Number(index), blanks)) })
    : t("job {n}", { n: counted(Number(index) + 1) });
  return [place, rest].filter(Boolean).join(", ");
}

function rowOf({ id, created_at }) {
  const span = (part, className, more = {}) => element("span", { "data-part": part, className, ...more });
  return element(
    "li",
    { "data-batch": id },
    element(
      "a",
      { href: `#/batches/${id}`, title: id, className: "batch-row", "data-part": "link" },
      span("name", "job-title"),
      span("bar", "parts", { role: "img", "aria-label": "" }),
      span("ended", "hint"),
      span("state", "chip-status"),
      element("time", { dateTime: created_at }, moment(created_at)),
    ),
  );
}
