// Responses through the official Node SDK, at two webs of one Spool.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { CITY, FAST, PROMPT, SLOW, all, ended, first, textOf } from "./openai_shared.mjs";

const WEATHER = { type: "function", name: "get_weather", parameters: CITY, strict: false };
const numbersOf = (events) => events.map((event) => event.sequence_number);

export const responses = {
  async "a response as a whole"({ here }) {
    const whole = await here.responses.create({ ...FAST, input: PROMPT });
    assert.equal(whole.status, "completed");
    assert.match(whole.output_text, /demo/);
    assert.ok(whole.usage.output_tokens > 50);
    const cut = await here.responses.create({ ...FAST, input: PROMPT, max_output_tokens: 9 });
    assert.equal(cut.status, "incomplete");
    assert.deepEqual(cut.incomplete_details, { reason: "max_output_tokens" });
    assert.equal(cut.usage.output_tokens, 9);
  },

  async "a response as a stream"({ here, there }) {
    const events = await all(await here.responses.create({ ...FAST, input: PROMPT, stream: true }));
    assert.deepEqual(numbersOf(events), [...events.keys()]);
    assert.equal(events[0].type, "response.created");
    assert.equal(events.at(-1).type, "response.completed");
    const kept = await there.responses.retrieve(events[0].response.id);
    assert.equal(kept.output_text, textOf(events));
    assert.deepEqual(kept.output, events.at(-1).response.output);
  },

  async "the stream helper"({ here, there }) {
    const runner = here.responses.stream({ ...FAST, input: PROMPT });
    let snapshot = "";
    runner.on("response.output_text.delta", (event) => (snapshot = event.snapshot));
    const final = await runner.finalResponse();
    assert.equal(final.status, "completed");
    assert.equal(final.output_text, snapshot);
    const again = there.responses.stream({ response_id: final.id, starting_after: 5 });
    const events = await all(again);
    assert.equal(events[0].sequence_number, 6);
    assert.equal((await again.finalResponse()).output_text, final.output_text);
  },

  async "in the background, and polled"({ here, there }) {
    const begun = await here.responses.create({ ...SLOW, input: PROMPT, tokens: 20, background: true });
    assert.ok(["queued", "in_progress"].includes(begun.status));
    assert.equal(begun.output_text, "");
    const seen = await ended(there, begun.id);
    assert.equal(seen.status, "incomplete");
    assert.equal(seen.usage.output_tokens, 20);
    assert.ok(seen.background && seen.output_text);
  },

  async "a stream that is cut, and resumed while it runs"({ here, there }) {
    const asked = { ...SLOW, input: PROMPT, tokens: 180, stream: true, background: true };
    const head = await first(12, await here.responses.create(asked));
    const id = head[0].response.id;
    assert.equal((await there.responses.retrieve(id)).status, "in_progress");
    const rest = await all(await there.responses.retrieve(id, { stream: true, starting_after: 11 }));
    const whole = await all(await here.responses.retrieve(id, { stream: true }));
    assert.deepEqual([...head, ...rest], whole);
    assert.equal(whole.at(-1).response.output[0].content[0].text, textOf(whole));
  },

  async "cancel"({ here, there }) {
    const stream = await here.responses.create({ ...SLOW, input: PROMPT, tokens: 5000, stream: true });
    let id;
    let last;
    for await (const event of stream) {
      id ??= event.response.id;
      if (event.type === "response.content_part.added") {
        assert.equal((await there.responses.cancel(id)).status, "cancelled");
      }
      last = event;
    }
    assert.equal(last.response.status, "cancelled");
    assert.equal((await here.responses.cancel(id)).status, "cancelled");
  },

  async "delete"({ here, there }) {
    const { id } = await here.responses.create({ ...FAST, input: PROMPT, tokens: 3 });
    await there.responses.delete(id);
    await assert.rejects(here.responses.retrieve(id), { constructor: OpenAI.APIError, status: 410 });
    const next = here.responses.create({ ...FAST, input: "and?", previous_response_id: id });
    await assert.rejects(next, { constructor: OpenAI.NotFoundError, param: "previous_response_id" });
  },

  async "the next turn, and its input items"({ here, there }) {
    const one = await here.responses.create({ ...FAST, input: PROMPT, instructions: "Be brief.", tokens: 5 });
    const input = ["And a reel?", "And a drum?"].map((content) => ({ role: "user", content }));
    const two = await there.responses.create({ ...FAST, input, previous_response_id: one.id });
    assert.equal(two.previous_response_id, one.id);
    assert.match(two.output_text, /And a drum\?/);
    const items = await all(here.responses.inputItems.list(two.id, { limit: 1, order: "asc" }));
    assert.deepEqual(items.map((item) => item.content[0].text), ["And a reel?", "And a drum?"]);
  },

  async "a conversation"({ here, there }) {
    const items = [{ type: "message", role: "user", content: "My name is Ada." }];
    const { id } = await here.conversations.create({ items, metadata: { topic: "names" } });
    const first = await here.responses.create({ ...FAST, conversation: id, input: PROMPT });
    assert.deepEqual(first.conversation, { id });
    const second = await there.responses.create({ ...FAST, conversation: { id }, input: "And a reel?" });
    const seen = await all(await here.conversations.items.list(id, { order: "asc", limit: 2 }));
    assert.deepEqual(seen.map((item) => item.role), ["user", "user", "assistant", "user", "assistant"]);
    assert.equal(seen[2].content[0].text, first.output_text);
    assert.equal(seen[4].id, second.output[0].id);
    const [added] = (await there.conversations.items.create(id, { items })).data;
    assert.equal((await here.conversations.items.retrieve(added.id, { conversation_id: id })).content[0].text, "My name is Ada.");
    assert.equal((await here.conversations.items.delete(added.id, { conversation_id: id })).id, id);
    assert.deepEqual((await here.conversations.update(id, { metadata: {} })).metadata, {});
    assert.equal((await here.conversations.retrieve(id)).object, "conversation");
    assert.ok((await here.conversations.delete(id)).deleted);
    await assert.rejects(here.conversations.retrieve(id), { status: 404 });
  },

  async "a tool call and its output"({ here }) {
    const asked = { ...FAST, input: "How is Paris?", tools: [WEATHER], tool_choice: "required" };
    const [call] = (await here.responses.create(asked)).output;
    assert.deepEqual([call.name, call.arguments], ["get_weather", '{"city":"Paris"}']);
    const final = await here.responses.stream(asked).finalResponse();
    assert.equal(final.output[0].arguments, call.arguments);
    const output = { type: "function_call_output", call_id: final.output[0].call_id, output: "18 degrees" };
    const turn = { ...FAST, tools: [WEATHER], input: [output], previous_response_id: final.id };
    assert.match((await here.responses.create(turn)).output_text, /18 degrees/);
    const input = [{ role: "user", content: "How is Paris?" }, call, { ...output, call_id: call.call_id }];
    assert.match((await here.responses.create({ ...FAST, input, tools: [WEATHER] })).output_text, /18 degrees/);
  },

  async "structured output"({ here }) {
    const format = zodTextFormat(z.object({ name: z.string(), inhabitants: z.number() }), "city");
    const parsed = await here.responses.parse({ ...FAST, input: "Name Lisbon", text: { format } });
    assert.deepEqual(parsed.output_parsed, { name: "Lisbon", inhabitants: 7 });
  },

  // Each silence is longer than the stack's heartbeat: before the first token, after the status line was held for one, and
  // between two.
  async "heartbeats in between"({ here }) {
    const runner = here.responses.stream({ ...FAST, input: PROMPT, tokens: 2, rate: 0.4, first_token_s: 2.2 });
    const events = await all(runner);
    const beats = events.filter((event, at) => event.sequence_number === events[at - 1]?.sequence_number);
    assert.ok(beats.length >= 2, `${beats.length} heartbeats`);
    assert.ok(beats.every((event) => event.type === "response.in_progress"));
    assert.ok(beats.at(-1).response.output.length > 0, "the last comes after the first token");
    const final = await runner.finalResponse();
    assert.equal(final.output_text, textOf(events));
    assert.equal(final.usage.output_tokens, 2);
  },

  async "a response that waits for its turn"({ here }) {
    const spool = { conversation: { id: "node responses" } };
    const before = await here.responses.create({ ...SLOW, tokens: 5000, input: PROMPT, background: true, spool });
    const runner = here.responses.stream({ ...FAST, input: PROMPT, spool });
    const told = [];
    for await (const event of runner) {
      if (!event.queued) continue;
      told.push(event);
      if (told.length === 1) await here.responses.cancel(before.id);
    }
    assert.equal(told[0].type, "response.in_progress");
    assert.deepEqual(told[0].queued.waiting_for, { reason: "conversation", job: before.id.replace("resp_", "") });
    const final = await runner.finalResponse();
    assert.equal(final.status, "completed");
    assert.ok(final.output_text);
  },

  async "a response that fails"({ here }) {
    const final = await here.responses.stream({ ...FAST, input: PROMPT, fail_after: 4 }).finalResponse();
    assert.equal(final.status, "failed");
    assert.match(final.error.message, /^demo_failure: /);
    assert.ok(final.output_text);
  },
};
