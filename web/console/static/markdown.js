/**
 * Renders growing Markdown as document nodes. The model's output is untrusted:
 *
 * - HTML in it is shown as text.
 * - DOMPurify rebuilds the output of `marked` from a short list of elements.
 * - Images become links, because loading one would reveal the reader to its server.
 *
 * Only blocks that changed since the last call are rendered again.
 */

import createPurifier from "./vendor/dompurify.js";
import { Marked } from "./vendor/marked.js";

const ALLOWED = {
  ALLOWED_TAGS:
    "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr input li ol p pre span strong table tbody td th thead tr ul".split(" "),
  ALLOWED_ATTR: ["href", "title", "align", "start", "type", "checked", "disabled"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/i,
  RETURN_DOM_FRAGMENT: true,
};
const DIRECTED = new Set("P LI H1 H2 H3 H4 H5 H6 BLOCKQUOTE TD TH UL OL TABLE".split(" "));

const escaped = (text) =>
  text.replace(/[&<>"]/g, (found) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[found]);

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }) => (/^<br\s*\/?>\s*$/i.test(text) ? "<br>" : escaped(text)),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
  },
});

const purifier = createPurifier(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (DIRECTED.has(node.tagName)) node.setAttribute("dir", "auto");
  if (node.tagName === "PRE") node.setAttribute("dir", "ltr");
  if (node.tagName === "A") {
    node.setAttribute("rel", "noopener noreferrer nofollow");
    node.setAttribute("target", "_blank");
  }
});

/** Shows a growing Markdown text in `target`. */
export class MarkdownView {
  #blocks = [];

  constructor(target) {
    this.target = target;
  }

  /** Show `text`; `marks` are offsets in it whose block gets a label. */
  show(text, marks = []) {
    const tokens = marked.lexer(text).filter((token) => token.type !== "space");
    const kept = this.#countUnchanged(tokens);
    for (const block of this.#blocks.splice(kept)) block.node.remove();
    for (const token of tokens.slice(kept)) {
      const node = blockOf(token, tokens.links);
      this.target.append(node);
      this.#blocks.push({ raw: token.raw, node });
    }
    this.#label(text, marks);
  }

  #countUnchanged(tokens) {
    let same = 0;
    while (same < tokens.length && this.#blocks[same]?.raw === tokens[same].raw) same += 1;
    return same;
  }

  #label(text, marks) {
    let from = 0;
    for (const { raw, node } of this.#blocks) {
      const start = text.indexOf(raw, from);
      from = start < 0 ? from : start + raw.length;
      const mark = marks.find(({ offset }) => start >= 0 && offset >= start && offset < from);
      if (mark) node.dataset.mark = mark.label;
      else delete node.dataset.mark;
    }
  }
}

function blockOf(token, links) {
  const block = document.createElement("div");
  block.className = "block";
  const tokens = Object.assign([token], { links });
  block.append(purifier.sanitize(marked.parser(tokens), ALLOWED));
  return block;
}
