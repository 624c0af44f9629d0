// Chat completions, models and errors through the official Node SDK.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { CITY, FAST, PROMPT, all } from "./openai_shared.mjs";

const ASK = { ...FAST, messages: [{ role: "user", content: PROMPT }] };
const WEATHER = { type: "function", function: { name: "get_weather", parameters: CITY } };
const said = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

// A function that the SDK calls by itself, and whose result it sends back.
const runnable = (calls) => ({
  type: "function",
  function: {
    name: "get_weather",
    parameters: CITY,
    parse: JSON.parse,
    function: ({ city }) => {
      calls.push(city);
      return `18 degrees in ${city}`;
    },
  },
});

export const chat = {
  async "a completion as a whole"({ here, url }) {
    const { data, response, request_id } = await here.chat.completions.create(ASK).withResponse();
    const job = await (await fetch(`${url}/jobs/${response.headers.get("x-spool-job")}`)).json();
    assert.equal(data.choices[0].message.content, job.text);
    assert.equal(data.choices[0].finish_reason, "stop");
    assert.equal(data.usage.completion_tokens, job.usage.output_tokens);
    assert.match(request_id, /^req_/);
  },

  async "a completion as a stream"({ here }) {
    const plain = await all(await here.chat.completions.create({ ...ASK, stream: true }));
    assert.ok(plain.every((chunk) => !chunk.usage && chunk.choices.length === 1));
    assert.equal(plain.at(-1).choices[0].finish_reason, "stop");
    const counted = await all(
      await here.chat.completions.create({ ...ASK, stream: true, stream_options: { include_usage: true } }),
    );
    assert.equal(said(counted), said(plain));
    assert.deepEqual(counted.at(-1).choices, []);
    assert.ok(counted.at(-1).usage.completion_tokens > 50);
  },

  async "a timeout and its retries"({ here, url }) {
    const late = { model: "demo", first_token_s: 1, rate: 0, messages: ASK.messages, metadata: { case: "retries" } };
    const { data, response } = await here.chat.completions
      .create(late, { timeout: 400, maxRetries: 9 })
      .withResponse();
    const { jobs } = await (await fetch(`${url}/jobs?limit=200`)).json();
    const mine = jobs.filter((job) => job.metadata.case === "retries");
    assert.deepEqual(mine.map((job) => job.id), [response.headers.get("x-spool-job")]);
    assert.equal(response.headers.get("idempotent-replayed"), "true");
    const { text } = await (await fetch(`${url}/jobs/${mine[0].id}`)).json();
    assert.equal(data.choices[0].message.content, text);
  },

  async "the stream helper of chat"({ here }) {
    const runner = here.chat.completions.stream(ASK);
    let text = "";
    runner.on("content", (delta) => (text += delta));
    const completion = await runner.finalChatCompletion();
    assert.equal(completion.choices[0].message.content, text);
  },

  async "a tool call by hand"({ here }) {
    const messages = [{ role: "user", content: "How is Madrid?" }];
    const forced = { ...FAST, messages, tools: [WEATHER], tool_choice: "required" };
    const { finish_reason, message } = (await here.chat.completions.create(forced)).choices[0];
    assert.equal(finish_reason, "tool_calls");
    assert.deepEqual(message.tool_calls[0].function, { name: "get_weather", arguments: '{"city":"Madrid"}' });
    messages.push(message, { role: "tool", tool_call_id: message.tool_calls[0].id, content: "sunny" });
    const answer = await here.chat.completions.create({ ...FAST, messages, tools: [WEATHER] });
    assert.match(answer.choices[0].message.content, /sunny/);
  },

  async "tools that the SDK runs"({ here }) {
    for (const stream of [false, true]) {
      const calls = [];
      const messages = [{ role: "user", content: "Ask get_weather about Oslo" }];
      const usage = stream ? { stream_options: { include_usage: true } } : {};
      const asked = { ...FAST, ...usage, stream, messages, tools: [runnable(calls)] };
      const runner = here.chat.completions.runTools(asked);
      assert.match(await runner.finalContent(), /18 degrees in Oslo/);
      assert.deepEqual(calls, ["Oslo"]);
      assert.ok((await runner.totalUsage()).completion_tokens > 0);
    }
  },

  async "heartbeats of chat in between"({ here }) {
    const slow = { ...ASK, stream: true, tokens: 2, rate: 0.4, first_token_s: 2.2 };
    const [chunks, raw] = await Promise.all([
      here.chat.completions.create(slow).then(all),
      here.chat.completions.create(slow).asResponse(),
    ]);
    assert.equal(chunks.filter((chunk) => chunk.choices[0].delta.content).length, 2);
    assert.ok((await raw.text()).split(": ping\n").length > 2);
  },

  async "a completion that waits for its time"({ here }) {
    const spool = { not_before: new Date(Date.now() + 2500).toISOString() };
    const waiting = { ...ASK, stream: true, rate: 0, spool };
    const [chunks, raw] = await Promise.all([
      here.chat.completions.create(waiting).then(all),
      here.chat.completions.create(waiting).asResponse(),
    ]);
    assert.ok(chunks.filter((chunk) => chunk.choices[0].delta.content).length > 2);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
    assert.ok((await raw.text()).endsWith("data: [DONE]\n\n"));
  },

  async "a completion that fails"({ here }) {
    const failing = { ...ASK, fail_after: 3 };
    const failed = { constructor: OpenAI.InternalServerError, code: "demo_failure" };
    await assert.rejects(here.chat.completions.create(failing), failed);
    const stream = await here.chat.completions.create({ ...failing, stream: true });
    await assert.rejects(all(stream), { constructor: OpenAI.APIError, code: "demo_failure" });
  },

  async "models"({ here }) {
    const models = await all(here.models.list());
    assert.ok(models.some((model) => model.id === "demo"));
    assert.equal((await here.models.retrieve("demo")).object, "model");
  },

  async "a model that is not there"({ here }) {
    const missing = { constructor: OpenAI.NotFoundError, code: "model_not_found", requestID: /^req_/ };
    await assert.rejects(here.responses.create({ model: "gpt-nothing", input: PROMPT }), missing);
    await assert.rejects(here.chat.completions.create({ ...ASK, model: "gpt-nothing" }), missing);
    await assert.rejects(here.models.retrieve("gpt-nothing"), missing);
  },

  async "what is refused"({ here }) {
    const refused = (param) => ({ constructor: OpenAI.BadRequestError, param });
    await assert.rejects(here.chat.completions.create({ ...ASK, n: 0 }), refused("n"));
    // A tool of the server's is no reason to refuse: it is left out, and the response says so.
    const searched = await here.responses.create({ ...FAST, input: PROMPT, tools: [{ type: "web_search" }] });
    assert.deepEqual(searched.spool.left_out_tools, ["web_search"]);
  },
};
