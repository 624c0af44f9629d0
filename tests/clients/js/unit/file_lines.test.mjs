/** Line numbers of dropped files. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { blankLines, lineOf } from "../../../../web/console/static/batches/file_lines.js";

const lines = async (text, jobs) => {
  const blanks = await blankLines(new Blob([text]));
  return Array.from({ length: jobs }, (_, index) => lineOf(index, blanks));
};

test("a file without blank lines", async () => {
  assert.deepEqual(await lines("{}\n{}\n{}", 3), [1, 2, 3]);
});

test("blank lines before, between and behind", async () => {
  assert.deepEqual(await lines("\n{}\r\n \t\r\n\n{}\n{}\n\n", 3), [2, 5, 6]);
});

test("more blank lines than are kept", async () => {
  assert.equal(await blankLines(new Blob(["\n".repeat(300)])), null);
});
