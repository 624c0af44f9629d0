// node ai_providers.mjs URL: the AI SDK's own functions over its providers at a Spool before scripted upstreams. Prints
// each case's outcome.

import assert from 'node:assert/strict';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

import { cutAfter } from './cut_fetch.mjs';
import { report } from './openai_shared.mjs';

const baseURL = `${process.argv[2]}/v1`;
// An answer's first events, and some of its text.
const CUT_AFTER = 6000;
const PROMPT = 'What is a spool?';
const PROVIDERS = {
  responses: (options) => createOpenAI(options).responses,
  chat: (options) => createOpenAI(options).chat,
  compatible: (options) => createOpenAICompatible({ name: 'spool', supportsStructuredOutputs: true, ...options }),
};
const tools = {
  get_weather: tool({
    description: 'The weather of a city.',
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `18 degrees in ${city}`,
  }),
};

/** A model of this provider, and how many requests it has made. */
function modelOf(provider, name, cut = 0) {
  const counted = { requests: 0 };
  const fetched = cutAfter(cut);
  const options = {
    baseURL,
    apiKey: 'none',
    fetch: (...args) => {
      counted.requests += 1;
      return fetched(...args);
    },
  };
  return { model: PROVIDERS[provider](options)(name), counted };
}

/** The parts of a stream. Some errors are parts, others are thrown. */
async function partsOf(options, parts = []) {
  for await (const part of streamText({ onError() {}, ...options }).fullStream) parts.push(part);
  return parts;
}

const textOf = (parts) => parts.filter((part) => part.type === 'text-delta').map((part) => part.text).join('');

const cases = {};
for (const provider of Object.keys(PROVIDERS)) {
  cases[`${provider}: whole`] = async () => {
    const { text, usage } = await generateText({ model: modelOf(provider, 'demo').model, prompt: PROMPT });
    assert.match(text, /What is a spool\?/);
    assert(usage.outputTokens > 50);
  };
  cases[`${provider}: stream`] = async () => {
    const parts = await partsOf({ model: modelOf(provider, 'demo').model, prompt: PROMPT });
    assert(parts.filter((part) => part.type === 'text-delta').length > 20);
    assert.match(textOf(parts), /What is a spool\?/);
    assert.equal(parts.at(-1).type, 'finish');
  };
  cases[`${provider}: tool`] = async () => {
    const options = { prompt: 'Ask get_weather about Oslo', tools, stopWhen: stepCountIs(3) };
    const { text, steps } = await generateText({ model: modelOf(provider, 'demo').model, ...options });
    assert.deepEqual(steps[0].toolCalls.map((call) => call.input), [{ city: 'Oslo' }]);
    assert.match(text, /18 degrees in Oslo/);
    assert.match(textOf(await partsOf({ model: modelOf(provider, 'demo').model, ...options })), /18 degrees in Oslo/);
  };
  cases[`${provider}: structured output`] = async () => {
    const schema = z.object({ name: z.string(), inhabitants: z.int() });
    const { model } = modelOf(provider, 'demo');
    const { output } = await generateText({ model, prompt: 'Name Lisbon', output: Output.object({ schema }) });
    assert.deepEqual(output, { name: 'Lisbon', inhabitants: 7 });
  };
  cases[`${provider}: failure`] = async () => {
    const { model, counted } = modelOf(provider, 'fails');
    await assert.rejects(generateText({ model, prompt: 'context' }), (error) => {
      assert.equal(error.statusCode, 400);
      assert.match(error.responseBody, /context_length_exceeded/);
      return true;
    });
    assert.equal(counted.requests, 1);
  };
  cases[`${provider}: failure of a stream`] = async () => {
    const { model, counted } = modelOf(provider, 'fails');
    const errors = (await partsOf({ model, prompt: 'context' })).filter((part) => part.type === 'error');
    // On a machine that is so busy that the stream has begun meanwhile, it is an event.
    assert.match(JSON.stringify([errors[0]?.error, String(errors[0]?.error)]), /context_length_exceeded/);
    assert.equal(counted.requests, 1);
  };
  cases[`${provider}: failure in a stream`] = async () => {
    const { model, counted } = modelOf(provider, 'fails');
    const parts = await partsOf({ model, prompt: 'later quota' });
    assert.equal(textOf(parts), 'Hel');
    assert(parts.some((part) => part.type === 'error'), JSON.stringify(parts));
    assert.equal(counted.requests, 1);
  };
  cases[`${provider}: cut`] = async () => {
    const { model, counted } = modelOf(provider, 'demo', CUT_AFTER);
    const parts = [];
    await partsOf({ model, prompt: PROMPT }, parts).catch((error) => parts.push({ type: 'error', error }));
    assert(parts.some((part) => part.type === 'error'), JSON.stringify(parts.at(-1)));
    assert.equal(counted.requests, 1);
  };
}

await report(cases);
