// node anthropic_sdk.mjs URL: Anthropic's SDK for Node at a Spool before scripted upstreams. Prints each case's outcome.

import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';

import { report } from './openai_shared.mjs';

const TOOLS = [{ name: 'one', input_schema: { type: 'object', properties: { city: { type: 'string' } } } }];
const asked = (content, fields) => ({ model: 'm', max_tokens: 99, messages: [{ role: 'user', content }], ...fields });
const withoutIds = (blocks) => blocks.map(({ id: _id, ...block }) => block);

const cases = {
  async 'a whole message'(sdk) {
    const message = await sdk.messages.create(asked('Hi', { tools: TOOLS }));
    assert.deepEqual(
      message.content.map((block) => block.type),
      ['thinking', 'text', 'tool_use', 'tool_use'],
    );
    assert.deepEqual(message.content[2].input, { city: 'Oslo' });
    assert.equal(message.stop_reason, 'tool_use');
    assert.deepEqual([message.usage.input_tokens, message.usage.output_tokens], [5, 7]);
  },

  async 'a stream'(sdk) {
    const kinds = [];
    for await (const event of await sdk.messages.create(asked('Hi', { stream: true }))) kinds.push(event.type);
    assert.equal(kinds[0], 'message_start');
    assert.equal(kinds.filter((kind) => kind === 'message_start').length, 1);
    assert.equal(kinds.at(-1), 'message_stop');
  },

  async 'the stream helper'(sdk) {
    const heard = { text: '', thinking: '' };
    const stream = sdk.messages
      .stream(asked('Hi', { tools: TOOLS }))
      .on('text', (delta) => (heard.text += delta))
      .on('thinking', (delta) => (heard.thinking += delta));
    const streamed = await stream.finalMessage();
    const whole = await sdk.messages.create(asked('Hi', { tools: TOOLS }));
    assert.deepEqual(withoutIds(streamed.content), withoutIds(whole.content));
    assert.deepEqual(heard, { text: 'Let me see.', thinking: 'Hm. ' });
  },

  async 'a picture and the result of a tool'(sdk) {
    const source = { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' };
    const messages = [
      { role: 'user', content: [{ type: 'image', source }, { type: 'text', text: 'What is it?' }] },
      { role: 'assistant', content: [{ type: 'tool_use', id: 't1', name: 'one', input: {} }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't1', content: 'a reel' }] },
    ];
    const message = await sdk.messages.create(asked('', { model: 'thinks', messages }));
    assert.equal(message.content.at(-1).text, 'Answer 1.');
  },

  async 'tools that the SDK runs'(sdk) {
    const calls = [];
    const run = (input) => (calls.push(input), 'cold');
    const [one, two] = ['one', 'two'].map((name) => ({ ...TOOLS[0], name, run, parse: (input) => input }));
    const runner = sdk.beta.messages.toolRunner(asked('Hi', { tools: [one, two], max_iterations: 2 }));
    for await (const message of runner) assert.equal(message.stop_reason, 'tool_use');
    assert.deepEqual(calls, Array(4).fill({ city: 'Oslo' }));
  },

  async 'a failure before the first token'(sdk) {
    await assert.rejects(sdk.messages.create(asked('words', { model: 'fails' })), (error) => {
      assert.ok(error instanceof Anthropic.BadRequestError);
      assert.match(error.message, /context_length_exceeded/);
      assert.equal(error.type, 'invalid_request_error');
      return true;
    });
    await assert.rejects(
      sdk.messages.create(asked('quota', { model: 'fails', stream: true })),
      (error) => error instanceof Anthropic.RateLimitError && error.type === 'rate_limit_error',
    );
  },

  async 'a failure in the stream'(sdk) {
    const texts = [];
    const read = async () => {
      const stream = await sdk.messages.create(asked('later quota', { model: 'fails', stream: true }));
      for await (const event of stream) texts.push(event.delta?.text ?? '');
    };
    await assert.rejects(read, (error) => error instanceof Anthropic.APIError && /insufficient_quota/.test(error.message));
    assert.equal(texts.join(''), 'Hel');
  },

  async 'the count of tokens'(sdk) {
    const { input_tokens: few } = await sdk.messages.countTokens(asked('x'.repeat(40), { max_tokens: undefined }));
    assert.ok(few >= 10);
  },

  async models(sdk) {
    const names = [];
    for await (const model of sdk.models.list({ limit: 1 })) names.push([model.id, model.display_name, model.type]);
    assert.ok(names.some((seen) => String(seen) === 'm,m,model'));
    assert.equal((await sdk.models.retrieve('m')).id, 'm');
    await assert.rejects(sdk.models.retrieve('none'), (error) => error instanceof Anthropic.NotFoundError);
  },
};

const [baseURL] = process.argv.slice(2);
await report(cases, new Anthropic({ baseURL, apiKey: 'none' }));
