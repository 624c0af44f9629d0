// Files and batches through the official Node SDK: upload, create, poll, both files, lists, cancel.

import assert from "node:assert/strict";
import { toFile } from "openai";
import { all } from "./openai_shared.mjs";

const CHAT = "/v1/chat/completions";
const ENDED = ["completed", "failed", "expired", "cancelled"];

const line = (custom_id, fields = {}) => {
  const body = { model: "demo", rate: 0, tokens: 5, messages: [{ role: "user", content: "x" }], ...fields };
  return JSON.stringify({ custom_id, method: "POST", url: CHAT, body });
};

async function created(here, lines) {
  const file = await here.files.create({ file: await toFile(Buffer.from(lines.join("\n")), "in.jsonl"), purpose: "batch" });
  return here.batches.create({ input_file_id: file.id, endpoint: CHAT, completion_window: "24h" });
}

async function ended(there, id) {
  for (;;) {
    const batch = await there.batches.retrieve(id);
    if (ENDED.includes(batch.status)) return batch;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const linesOf = async (client, id) => (await (await client.files.content(id)).text()).trim().split("\n").map(JSON.parse);

export const files = {
  async "files"({ here, there }) {
    const file = await here.files.create({ file: await toFile(Buffer.from('{"a":1}\n'), "in.jsonl"), purpose: "batch" });
    assert.deepEqual([file.bytes, file.filename, file.purpose], [8, "in.jsonl", "batch"]);
    assert.equal(await (await there.files.content(file.id)).text(), '{"a":1}\n');
    assert.ok((await all(there.files.list({ purpose: "batch" }))).some((each) => each.id === file.id));
    assert.equal((await there.files.delete(file.id)).deleted, true);
    await assert.rejects(here.files.retrieve(file.id), { status: 404 });
  },

  async "a batch from its file to its output"({ here, there }) {
    const batch = await created(here, [line("one"), line("two")]);
    assert.equal(batch.status, "validating");
    const end = await ended(there, batch.id);
    assert.deepEqual([end.status, end.request_counts.completed, end.error_file_id], ["completed", 2, null]);
    const answers = await linesOf(there, end.output_file_id);
    assert.deepEqual(answers.map((answer) => answer.custom_id).sort(), ["one", "two"]);
    assert.ok(answers.every((answer) => answer.response.body.object === "chat.completion"));
    assert.ok((await all(here.files.list({ purpose: "batch_output" }))).some((each) => each.id === end.output_file_id));
    assert.ok((await all(here.batches.list({ limit: 1 }))).some((each) => each.id === batch.id));
  },

  async "a batch that cannot run, and one that is cancelled"({ here, there }) {
    const failed = await ended(there, (await created(here, ["nonsense"])).id);
    assert.deepEqual([failed.status, failed.errors.data[0].code], ["failed", "invalid_json_line"]);
    const slow = await created(here, [line("slow", { rate: 1, tokens: 1000 })]);
    await there.batches.cancel(slow.id);
    const cancelled = await ended(here, slow.id);
    assert.equal(cancelled.status, "cancelled");
    assert.equal((await linesOf(here, cancelled.error_file_id))[0].error.code, "batch_cancelled");
    await assert.rejects(here.batches.retrieve(`b0-${"0".repeat(26)}`), { status: 404 });
  },
};
