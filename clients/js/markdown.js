/**
 * Markdown as document nodes, while it grows. `marked` and DOMPurify come from the caller.
 *
 * The output of a model is not trusted: HTML in it is shown as text, DOMPurify rebuilds the result from a short list
 * of elements, and images, whose servers would learn about the reader, become links. Only changed blocks are made
 * again.
 */

import { closed } from "./src/partial_markdown.js";

const ALLOWED = {
  ALLOWED_TAGS: (
    "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr input li ol p pre span strong table tbody td th thead tr ul"
  ).split(" "),
  ALLOWED_ATTR: ["href", "title", "align", "start", "type", "checked", "disabled", "class"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/i,
  // The expression above is applied to every attribute that is not listed here.
  ADD_URI_SAFE_ATTR: ["title", "align", "start", "type", "checked", "disabled", "class"],
  RETURN_DOM_FRAGMENT: true,
};
const DIRECTED = new Set("P LI H1 H2 H3 H4 H5 H6 BLOCKQUOTE TD TH UL OL TABLE".split(" "));

export class MarkdownView {
  #blocks = [];
  #drawn = "";

  /** `Marked`: the class of the package marked. `DOMPurify`: its factory or instance. */
  constructor(target, { Marked, DOMPurify }) {
    this.target = target;
    this.marked = new Marked({ gfm: true, renderer: RENDERER });
    this.purifier = DOMPurify(window);
    this.purifier.addHook("afterSanitizeAttributes", finish);
  }

  /**
   * Show `text`. `isWhole`: the text is complete, so nothing is closed or held back. `labels`: `{ offset, label }`
   * puts a label into `data-mark` of the block at that offset of the text.
   */
  show(text, isWhole = false, labels = []) {
    this.#drawn = isWhole ? text : closed(text);
    const tokens = this.marked.lexer(this.#drawn).filter(({ type }) => type !== "space");
    let same = 0;
    while (same < tokens.length && this.#blocks[same]?.raw === tokens[same].raw) same += 1;
    for (const { node } of this.#blocks.splice(same)) node.remove();
    for (const token of tokens.slice(same)) {
      const node = document.createElement("div");
      node.className = "block";
      node.append(this.purifier.sanitize(this.marked.parser(Object.assign([token], { links: tokens.links })), ALLOWED));
      this.target.append(node);
      this.#blocks.push({ raw: token.raw, node });
    }
    this.#label(labels);
  }

  /** The offset in the text of what is drawn at this height of the window; the text's length if everything is above. */
  offsetAt(y) {
    for (const { start, end, node } of this.#placed()) {
      const { top, bottom, height } = node.getBoundingClientRect();
      if (bottom > y) return start + Math.round((end - start) * Math.max(0, (y - top) / height));
    }
    return this.#drawn.length;
  }

  /** The height in the window of what is drawn at this offset of the text, to about a line. */
  heightOf(offset) {
    for (const { start, end, node } of this.#placed()) {
      const { top, height } = node.getBoundingClientRect();
      if (end >= offset) return top + (height * Math.max(0, offset - start)) / Math.max(1, end - start);
    }
    return this.target.getBoundingClientRect().bottom;
  }

  #label(labels) {
    let from = 0;
    for (const { end, node } of this.#placed()) {
      // What is between two blocks belongs to the second one.
      const found = labels.find(({ offset }) => offset >= from && offset < end);
      from = end;
      if (found) node.dataset.mark = found.label;
      else delete node.dataset.mark;
    }
  }

  /** Every block with its place in the text. A block that is not found, since line ends differ, has an empty place. */
  *#placed() {
    let end = 0;
    for (const { raw, node } of this.#blocks) {
      const start = this.#drawn.indexOf(raw, end);
      if (start >= 0) end = start + raw.length;
      yield { start: start >= 0 ? start : end, end, node };
    }
  }
}

const escaped = (text) =>
  text.replace(/[&<>"]/g, (found) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[found]);

const RENDERER = {
  html: ({ text }) => (/^<br\s*\/?>\s*$/i.test(text) ? "<br>" : escaped(text)),
  image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
};

function finish(node) {
  if (DIRECTED.has(node.tagName)) node.setAttribute("dir", "auto");
  if (node.tagName === "PRE") {
    node.setAttribute("dir", "ltr");
    // It may be wider than the page, and the keyboard scrolls only focusable elements.
    node.setAttribute("tabindex", "0");
  }
  // The only inputs are those of task lists. Classes name a block of code's language, and nothing else.
  if (node.tagName === "INPUT" && node.getAttribute("type") !== "checkbox") node.remove();
  if (node.hasAttribute("class") && !/^language-[\w+#-]+$/.test(node.className)) node.removeAttribute("class");
  if (node.tagName === "A") {
    node.setAttribute("rel", "noopener noreferrer nofollow");
    node.setAttribute("target", "_blank");
  }
}
