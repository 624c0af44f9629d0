/** The failures of a batch: earlier ones are searched for in the results, new ones come with the log. */

import { client } from "../connection.js";
import { byId, element, setText } from "../dom.js";
import { counted, t } from "../words.js";
import { labelOf } from "./names.js";

const SHOWN = 10;
const SEARCHED = 5000;

export class Failures {
  #known = new Map();

  constructor(batchId, signal) {
    Object.assign(this, { id: batchId, signal });
    this.#draw(0);
  }

  /** A line that has ended. `line`: an entry of the log, or a result. */
  add({ batch_index, status, error }) {
    if (!["failed", "expired"].includes(status) || this.#known.size >= SHOWN) return;
    const index = batch_index ?? 0;
    this.#known.set(index, [labelOf(this.id, index), error?.message ?? status]);
  }

  /** Reads the results up to an entry, until enough failures are found. */
  async search(last) {
    let read = 0;
    for await (const job of client().batches.resultsSoFar(this.id, { signal: this.signal })) {
      this.add(job);
      read += 1;
      if (read >= Math.min(last, SEARCHED) || this.#known.size >= SHOWN) return;
    }
  }

  draw({ counts, errors, state }) {
    // The log of a batch that failed from the start is empty.
    const refused = state === "failed" ? (errors ?? []) : [];
    for (const { line, message } of refused)
      this.#known.set((line ?? 1) - 1, [t("line {n}", { n: counted(line ?? 1) }), message]);
    this.#draw(Math.max((counts.failed ?? 0) + (counts.expired ?? 0), refused.length));
  }

  #draw(all) {
    const shown = [...this.#known].sort(([one], [other]) => one - other).slice(0, SHOWN);
    byId("batch-failures-title").hidden = shown.length === 0;
    const list = byId("batch-failures");
    const drawn = JSON.stringify(shown);
    if (list.dataset.drawn !== drawn) {
      list.dataset.drawn = drawn;
      list.replaceChildren(...shown.map(([, [label, message]]) => failureOf(label, message)));
    }
    const rest = all - shown.length;
    const more = () => t("{n} more are in the download.", { n: counted(rest) });
    setText(byId("batch-failures-rest"), shown.length && rest > 0 ? more() : "");
  }
}

const failureOf = (label, message) => element("li", {}, element("strong", {}, label), ` ${message}`);
