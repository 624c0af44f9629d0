// node ollama.mjs URL: Ollama's client for JavaScript at a Spool before scripted upstreams. Prints each case's outcome.

import assert from 'node:assert/strict';
import { Ollama } from 'ollama';

import { all, report } from './openai_shared.mjs';

const asked = (model, content, fields) => ({ model, messages: [{ role: 'user', content }], ...fields });

const cases = {
  async chat(client) {
    const answer = await client.chat(asked('m', 'Hi'));
    assert.deepEqual([answer.message.content, answer.message.thinking], ['Let me see.', 'Hm. ']);
    assert.deepEqual(
      answer.message.tool_calls.map((call) => [call.function.name, call.function.arguments]),
      [['one', { city: 'Oslo' }], ['two', { city: 'Oslo' }]],
    );
    assert.deepEqual([answer.prompt_eval_count, answer.eval_count], [9, 7]);
  },

  async 'a stream'(client) {
    const parts = await all(await client.chat(asked('m', 'Hi', { stream: true })));
    assert.equal(parts.map((part) => part.message.content).join(''), 'Let me see.');
    assert.equal(parts.at(-1).done, true);
  },

  async generate(client) {
    assert.equal((await client.generate({ model: 'thinks', prompt: 'Hi' })).response, 'Answer 0.');
  },

  async failure(client) {
    await assert.rejects(client.chat(asked('fails', 'words')), /context_length_exceeded/);
    const texts = [];
    await assert.rejects(async () => {
      for await (const part of await client.chat(asked('fails', 'later quota', { stream: true })))
        texts.push(part.message.content);
    }, /insufficient_quota/);
    assert.equal(texts.join(''), 'Hel');
  },

  async models(client) {
    assert.ok((await client.list()).models.some((model) => model.name === 'm'));
    assert.ok((await client.show({ model: 'm' })).capabilities.includes('completion'));
  },
};

await report(cases, new Ollama({ host: process.argv[2] }));
