/**
 * Markdown that is still being written, closed as it probably will be: `**` and half a link never show raw, and the
 * beginning of a fence, a table or a heading's underline does not flicker. Text in, text out: no parser, no document.
 */

const FENCE = /^ {0,3}(`{3,}|~{3,})([^\n]*)$/;
/** What may become a fence, a list, a rule, a heading, or the line under one. */
const UNDECIDED = /^ {0,3}(?:`{1,2}|~{1,2}|[-=*_+]{1,3}|#{1,6}|\d{1,9}[.)]?)$/;
const TABLE_ROW = /^ {0,3}\|/;
const DELIMITERS = /^[ |:-]*-[ |:-]*$/;
/** Longer paragraphs are shown as they are: closing one costs the square of its length in half-open links. */
const PARAGRAPH_MOST = 4000;

/** `text` with its half-open end closed, or held back until it is clear what it will be. */
export function closed(text) {
  const lines = text.split("\n");
  const fence = openFence(lines);
  if (fence) return isFenceBegun(lines, fence) ? lines.slice(0, -1).join("\n") : text;
  const shown = decided(lines);
  const from = shown.slice(0, -1).findLastIndex((line) => line.trim() === "" || FENCE.test(line)) + 1;
  return [...shown.slice(0, from), closedInline(shown.slice(from).join("\n"))].join("\n");
}

/** The fence in which the text ends, or an empty string. The last line may still grow, so it closes none. */
function openFence(lines) {
  let open = "";
  lines.forEach((line, n) => {
    const [, fence = "", info = ""] = FENCE.exec(line) ?? [];
    if (!open) open = fence.startsWith("`") && info.includes("`") ? "" : fence;
    else if (n < lines.length - 1 && fence.startsWith(open) && !info.trim()) open = "";
  });
  return open;
}

/** Whether the last line may be the closing fence. */
function isFenceBegun(lines, fence) {
  const last = lines.at(-1).trim();
  return lines.length > 1 && last !== "" && [...last].every((character) => character === fence[0]) && !opens(lines);
}

/** Whether the last line is the opening fence itself. */
const opens = (lines) => openFence(lines.slice(0, -1).concat("")) === "";

function decided(lines) {
  const [before = "", row = "", last] = ["", "", ...lines].slice(-3);
  if (UNDECIDED.test(last)) return [...lines.slice(0, -1), ""];
  if (TABLE_ROW.test(last) && !row.trim()) return [...lines.slice(0, -1), ""];
  const isHead = TABLE_ROW.test(row) && !before.trim() && (last === "" || DELIMITERS.test(last) || last === "|");
  if (isHead && last.split("|").length < row.split("|").length) return [...lines.slice(0, -2), ""];
  return lines;
}

/** A paragraph with its open code, emphasis and links closed. */
function closedInline(paragraph) {
  if (paragraph.length > PARAGRAPH_MOST) return paragraph;
  let text = paragraph;
  const open = [];
  for (let at = 0; at < text.length; ) {
    const character = text[at];
    if (character === "\\") at += 2;
    else if (character === "`") {
      const ticks = text.slice(at, endOfRun(text, at));
      const end = endOfCode(text, at + ticks.length, ticks);
      if (end < 0) return withClosing(at + ticks.length === text.length ? text.slice(0, at) : text + ticks, open);
      at = end;
    } else if (character === "[" && isHalfLink(text, at)) {
      const start = text[at - 1] === "!" ? at - 1 : at;
      text = text.slice(0, start) + text.slice(at + 1).replace(/\](?:\([^)\n]*)?$/, "");
      at = start;
    } else if ("*_~".includes(character)) {
      const end = endOfRun(text, at);
      if (end === text.length && !open.includes(text.slice(at))) text = text.slice(0, at);
      else mark(open, text.slice(at, end), text[at - 1] ?? " ", text[end] ?? " ");
      at = end;
    } else at += 1;
  }
  return withClosing(text, open);
}

function endOfRun(text, at) {
  let end = at;
  while (text[end] === text[at]) end += 1;
  return end;
}

/** Where the code span ends whose `ticks` stand before `from`; -1 if it is open. */
function endOfCode(text, from, ticks) {
  for (let at = text.indexOf("`", from); at >= 0; at = text.indexOf("`", at)) {
    const end = endOfRun(text, at);
    if (end - at === ticks.length) return end;
    at = end;
  }
  return -1;
}

/** Whether a link begins here and is not complete. `[x]` alone is left as it is: it may be a task. */
const isHalfLink = (text, at) => /^\[[^\]\n]*(?:\]\([^)\n]*)?$/.test(text.slice(at));

/** Take a run of marks as the end of what is open, else as a beginning (CommonMark 6.2, in short). */
function mark(open, run, before, after) {
  const isWord = run[0] === "_" && /\w/.test(before) && /\w/.test(after);
  if ((run[0] === "~" && run.length !== 2) || run.length > 3 || isWord) return;
  if (/\S/.test(before) && open.includes(run)) open.splice(open.lastIndexOf(run));
  else if (/\S/.test(after)) open.push(run);
}

/** Closing marks stand before trailing space: after it they would close nothing. */
function withClosing(text, open) {
  const end = text.trimEnd();
  return end + open.toReversed().join("") + text.slice(end.length);
}
