/** The last entries as received, one line each. Draws only while it is open. */

import { element, setText } from "../dom.js";
import { t } from "../words.js";

const KEPT = 200;

export class RawLog {
  #drawnTo = 0;

  constructor(box, list, count) {
    Object.assign(this, { box, list, count });
  }

  draw({ entries, last }) {
    setText(this.count, last ? t("to entry {n}", { n: last }) : "");
    if (!this.box.open) return;
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 30;
    const fresh = entries.slice(-KEPT).filter((entry) => entry.id > this.#drawnTo);
    this.list.append(...fresh.map(line));
    while (this.list.children.length > KEPT) this.list.firstChild.remove();
    this.#drawnTo = fresh.at(-1)?.id ?? this.#drawnTo;
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }
}

function line({ id, kind, at, ...fields }) {
  const shown = kind === "token" || kind === "reasoning" ? JSON.stringify(fields.text) : JSON.stringify(fields);
  return element(
    "li",
    { title: at },
    element("span", { className: "raw-id" }, String(id)),
    element("span", { className: "raw-kind", "data-kind": kind }, kind),
    element("span", { className: "raw-fields", dir: "auto" }, shown),
  );
}
