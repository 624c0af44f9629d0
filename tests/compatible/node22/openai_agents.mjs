// node openai_agents.mjs URL: the OpenAI Agents SDK for Node at a Spool before scripted upstreams, over chat completions
// and over responses. Prints each case's outcome.

import assert from 'node:assert/strict';
import { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, setTracingDisabled, tool } from '@openai/agents';
import OpenAI from 'openai';
import { z } from 'zod';

import { report } from './openai_shared.mjs';
import { cutAfter } from './cut_fetch.mjs';

// An answer's first events, and some of its text.
const CUT_AFTER = 6000;
const RESULT = '18 degrees in Oslo';
const weather = tool({
  name: 'get_weather',
  description: 'The weather of a city.',
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => `18 degrees in ${city}`,
});

setTracingDisabled(true);

const KINDS = { chat: OpenAIChatCompletionsModel, responses: OpenAIResponsesModel };

/** An agent of this kind, and how many requests it has made. */
function agentOf(kind, model, { tools = [], cut = 0 } = {}) {
  const counted = { requests: 0 };
  const fetched = cutAfter(cut);
  const client = new OpenAI({
    baseURL: `${process.argv[2]}/v1`,
    apiKey: 'none',
    fetch: (...args) => {
      counted.requests += 1;
      return fetched(...args);
    },
  });
  return { agent: new Agent({ name: 'a', model: new KINDS[kind](client, model), tools }), counted };
}

const run = (agent, prompt, options = {}) => new Runner({ tracingDisabled: true }).run(agent, prompt, options);

async function streamed(agent, prompt, texts = []) {
  const result = await run(agent, prompt, { stream: true });
  for await (const text of result.toTextStream()) texts.push(text);
  await result.completed;
  return result;
}

const cases = {};
for (const kind of Object.keys(KINDS)) {
  cases[`${kind}: whole`] = async () => {
    const { agent } = agentOf(kind, 'demo');
    assert.match((await run(agent, 'What is a spool?')).finalOutput, /What is a spool\?/);
  };
  cases[`${kind}: stream`] = async () => {
    const texts = [];
    const result = await streamed(agentOf(kind, 'demo').agent, 'What is a spool?', texts);
    assert(texts.length > 20);
    assert.equal(texts.join(''), result.finalOutput);
  };
  cases[`${kind}: tool`] = async () => {
    const { agent } = agentOf(kind, 'demo', { tools: [weather] });
    assert.match((await run(agent, 'Ask get_weather about Oslo')).finalOutput, new RegExp(RESULT));
    assert.match((await streamed(agent, 'Ask get_weather about Oslo')).finalOutput, new RegExp(RESULT));
  };
  cases[`${kind}: failure`] = async () => {
    for (const ask of [run, streamed]) {
      const { agent, counted } = agentOf(kind, 'fails');
      await assert.rejects(ask(agent, 'context'), (error) => /context_length_exceeded/.test(`${error.code} ${error.message}`));
      assert.equal(counted.requests, 1);
    }
  };
  cases[`${kind}: failure in a stream`] = async () => {
    const { agent, counted } = agentOf(kind, 'fails');
    const texts = [];
    await assert.rejects(streamed(agent, 'later quota', texts));
    assert.deepEqual([texts.join(''), counted.requests], ['Hel', 1]);
  };
  cases[`${kind}: cut`] = async () => {
    const { agent, counted } = agentOf(kind, 'demo', { cut: CUT_AFTER });
    await assert.rejects(streamed(agent, 'What is a spool?'));
    assert.equal(counted.requests, 1);
  };
}

await report(cases);
