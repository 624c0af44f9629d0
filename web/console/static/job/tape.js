/** Replays an ended answer at the speed of its log or a multiple of it. */

import { apply, newState } from "../client/src/state.js";
import { element } from "../dom.js";
import { duration, t } from "../words.js";
import { nameOf } from "./transports.js";

const ATTEMPTS = {
  restarted: ({ attempt }) => t("Attempt {n} restarted.", { n: attempt }),
  continued: ({ attempt }) => t("Attempt {n} continues.", { n: attempt }),
  waiting: () => t("The model's server is not ready. Waiting."),
};

/** Where attempts and connections changed: `[{ kind, at, place, text }]`, the place between 0 and 1. */
export function marksOf(entries, stretches) {
  const times = new Map(entries.map(({ id, at }) => [id, Date.parse(at)]));
  const first = Date.parse(entries[0].at);
  const length = Math.max(1, Date.parse(entries.at(-1).at) - first);
  const attempts = entries
    .filter(({ kind }) => Object.hasOwn(ATTEMPTS, kind))
    .map((entry) => ({ kind: entry.kind, at: Date.parse(entry.at), text: ATTEMPTS[entry.kind](entry) }));
  const connections = stretches
    .slice(1)
    .filter(({ from }) => times.has(from))
    .map(({ from, transport }) => ({
      kind: "connection",
      at: times.get(from),
      text: t("Connected again over {transport}, from entry {n}", { transport: nameOf(transport), n: from }),
    }));
  return [...attempts, ...connections]
    .sort((a, b) => a.at - b.at)
    .map((mark) => ({ ...mark, place: (mark.at - first) / length }));
}

/** Draws the marks above the tape, and describes them as text. */
export function drawMarks(box, marks, first) {
  const said = marks.map(({ at, text }) => `+${duration(at - first)}: ${text}`);
  box.replaceChildren(
    ...marks.map(({ kind, place }, n) => {
      const mark = element("i", { "data-kind": kind, title: said[n] });
      mark.style.insetInlineStart = `${place * 100}%`;
      return mark;
    }),
  );
  box.setAttribute("aria-label", said.join("; ") || t("One attempt, one connection"));
}

export class Tape {
  #frame = 0;

  /** `show(state, progress, speed)` is called for each frame; `done()` at the end, or when it is stopped. */
  constructor(entries, { show, done }) {
    Object.assign(this, { entries, show, done });
  }

  get isPlaying() {
    return this.#frame !== 0;
  }

  play(speed) {
    this.#leave();
    const first = Date.parse(this.entries[0].at);
    const last = Date.parse(this.entries.at(-1).at);
    const state = newState();
    const began = performance.now();
    let next = 0;
    const step = () => {
      const at = first + (performance.now() - began) * speed;
      while (next < this.entries.length && Date.parse(this.entries[next].at) <= at) apply(state, this.entries[next++]);
      this.show(state, last > first ? Math.min(1, (at - first) / (last - first)) : 1, speed);
      if (next < this.entries.length) this.#frame = requestAnimationFrame(step);
      else this.stop();
    };
    this.#frame = requestAnimationFrame(step);
  }

  stop() {
    this.#leave();
    this.done();
  }

  #leave() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }
}
