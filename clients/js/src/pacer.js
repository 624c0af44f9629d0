/**
 * Shows a growing text at a steady pace, so that a large piece after a reconnect still looks like typing.
 *
 * The pace follows the remaining text: half of it within `lagMs`, and never less than a slow typist. So the shown
 * text is never far behind, and a long replay takes about a second.
 */

const SLOWEST_PER_S = 40;
const LAST_MS = 300;

export class Pacer {
  #shown = 0;
  #rest = 0;
  #at = null;

  constructor({ lagMs = 350, now = () => performance.now() } = {}) {
    this.lagMs = lagMs;
    this.now = now;
  }

  /** The part of `text` to show now. `isWhole`: the text is complete, so the rest follows quickly. */
  shown(text, isWhole = false) {
    const now = this.now();
    const passedMs = this.#at === null ? 0 : now - this.#at;
    this.#at = now;
    if (this.#shown > text.length) this.#shown = 0;
    const left = text.length - this.#shown;
    const perMs = Math.max(left / (isWhole ? LAST_MS : this.lagMs), SLOWEST_PER_S / 1000);
    this.#rest += perMs * passedMs;
    const step = Math.min(left, Math.floor(this.#rest));
    this.#rest -= step;
    if (step === left) this.#rest = 0;
    this.#shown = whole(text, this.#shown + step);
    return text.slice(0, this.#shown);
  }

  /** Show everything immediately: a text that existed before this page. */
  skipTo(length) {
    this.#shown = length;
  }
}

/** Not between the two halves of a surrogate pair, nor before what joins to the character before it. */
function whole(text, end) {
  while (end < text.length && /^[\uDC00-\uDFFF\u200D\uFE0E\uFE0F\u0300-\u036F]/.test(text.charAt(end))) end += 1;
  return end;
}
