// node side_by_side.mjs URL CASES: the official SDKs for Node do what their users do, at a vendor's API or at Spool.
// CASES is JSON: client, program and model of each. Prints what each saw.

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { report } from './side_by_side_cases.mjs';

const TIMEOUT_MS = 1500;
const PROMPT = 'What is a spool?';
const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const NAMES = ['one', 'two'];
const STREAMED = ['stream', 'keyed', 'stop', 'tools'];
const WITH_TOOLS = ['tools', 'reasoning'];
const SUMMARY = { reasoning: { summary: 'auto' }, include: ['reasoning.encrypted_content'] };
const USER = { role: 'user', content: PROMPT };

const [url, cases] = process.argv.slice(2);
const optionsOf = {
  timeout: () => ({ timeout: TIMEOUT_MS, maxRetries: 9 }),
  keyed: (model) => ({ defaultHeaders: { 'Idempotency-Key': model } }),
};
const nothing = () => ({ text: '', reasoning: '', tools: [], finish: null, usage: null, error: null });
const errorOf = (error, code) => ({ class: error.constructor.name, status: error.status ?? null, code: code ?? null });

const chat = {
  sdk: (options) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', ...options }),
  code: (error) => error.code,

  asked: (model, program) => ({
    model,
    messages: [USER],
    ...(WITH_TOOLS.includes(program) && {
      tools: NAMES.map((name) => ({ type: 'function', function: { name, parameters: SCHEMA } })),
    }),
  }),

  async stream(sdk, asked, seen, stops) {
    const calls = [];
    const streamed = { ...asked, stream: true, stream_options: { include_usage: true } };
    for await (const { choices, usage } of await sdk.chat.completions.create(streamed)) {
      if (usage) seen.usage = [usage.prompt_tokens, usage.completion_tokens];
      for (const { delta, finish_reason } of choices) {
        seen.text += delta.content ?? '';
        seen.reasoning += delta.reasoning_content ?? '';
        seen.finish = finish_reason ?? seen.finish;
        for (const { index, function: { name = '', arguments: piece = '' } } of delta.tool_calls ?? []) {
          calls[index] ??= ['', ''];
          calls[index][0] += name;
          calls[index][1] += piece;
        }
      }
      if (stops && seen.text) return;
    }
    seen.tools = calls.map(([name, given]) => [name, JSON.parse(given)]);
  },

  whole: (sdk, asked) => sdk.chat.completions.create(asked),

  next(asked, { choices: [{ message }] }) {
    const results = message.tool_calls.map(({ id }) => ({ role: 'tool', tool_call_id: id, content: '18' }));
    return { ...asked, messages: [...asked.messages, message, ...results] };
  },

  fold({ choices: [{ message, finish_reason }], usage }, seen) {
    seen.text = message.content;
    seen.reasoning = message.reasoning_content ?? '';
    seen.finish = finish_reason;
    seen.usage = [usage.prompt_tokens, usage.completion_tokens];
  },
};

const responses = {
  sdk: chat.sdk,
  code: chat.code,

  asked: (model, program) => ({
    model,
    input: [USER],
    ...SUMMARY,
    ...(WITH_TOOLS.includes(program) && {
      tools: NAMES.map((name) => ({ type: 'function', name, parameters: SCHEMA })),
    }),
  }),

  async stream(sdk, asked, seen, stops) {
    for await (const event of await sdk.responses.create({ ...asked, stream: true })) {
      if (event.type === 'response.output_text.delta') seen.text += event.delta;
      if (['response.completed', 'response.failed', 'response.incomplete'].includes(event.type)) {
        responses.end(event.response, seen);
      }
      if (stops && seen.text) return;
    }
  },

  whole: (sdk, asked) => sdk.responses.create(asked),

  next(asked, { output }) {
    const results = output
      .filter((item) => item.type === 'function_call')
      .map(({ call_id }) => ({ type: 'function_call_output', call_id, output: '18' }));
    return { ...asked, input: [...asked.input, ...output, ...results] };
  },

  fold(answer, seen) {
    responses.end(answer, seen);
    seen.text = answer.output_text;
  },

  end({ status, usage, output, error }, seen) {
    seen.finish = status;
    if (usage) seen.usage = [usage.input_tokens, usage.output_tokens];
    for (const item of output) {
      if (item.type === 'reasoning') seen.reasoning += item.summary.map((part) => part.text).join('');
      if (item.type === 'function_call') seen.tools.push([item.name, JSON.parse(item.arguments)]);
    }
    if (error) seen.error = { class: 'response.failed', status: null, code: error.code };
  },
};

const messages = {
  sdk: (options) => new Anthropic({ baseURL: url, apiKey: 'none', ...options }),
  code: (error) => error.error?.error?.type,

  asked: (model, program) => ({
    model,
    max_tokens: 99,
    messages: [USER],
    ...(WITH_TOOLS.includes(program) && { tools: NAMES.map((name) => ({ name, input_schema: SCHEMA })) }),
  }),

  async stream(sdk, asked, seen, stops) {
    const stream = sdk.messages.stream(asked);
    for await (const { type, delta } of stream) {
      if (type === 'content_block_delta') seen.text += delta.text ?? '';
      if (stops && seen.text) return;
    }
    messages.fold(await stream.finalMessage(), seen);
  },

  whole: (sdk, asked) => sdk.messages.create(asked),

  next(asked, { content }) {
    const results = content
      .filter((block) => block.type === 'tool_use')
      .map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: '18' }));
    const turns = [{ role: 'assistant', content }, { role: 'user', content: results }];
    return { ...asked, messages: [...asked.messages, ...turns] };
  },

  fold({ content, stop_reason, usage }, seen) {
    const joined = (type, field) => content.filter((block) => block.type === type).map((block) => block[field]).join('');
    seen.text = joined('text', 'text');
    seen.reasoning = joined('thinking', 'thinking');
    seen.tools = content.filter((block) => block.type === 'tool_use').map(({ name, input }) => [name, input]);
    seen.finish = stop_reason;
    seen.usage = [usage.input_tokens, usage.output_tokens];
  },
};

const CLIENTS = { 'openai-node-chat': chat, 'openai-node-responses': responses, 'anthropic-node': messages };

async function run({ client, program, model }) {
  const api = CLIENTS[client];
  const sdk = api.sdk(optionsOf[program]?.(model));
  const asked = api.asked(model, program);
  const seen = nothing();
  try {
    if (STREAMED.includes(program)) await api.stream(sdk, asked, seen, program === 'stop');
    else {
      let answer = await api.whole(sdk, asked);
      if (program === 'reasoning') answer = await api.whole(sdk, api.next(asked, answer));
      api.fold(answer, seen);
    }
  } catch (error) {
    seen.error = errorOf(error, api.code(error));
  }
  return [model, seen];
}

await report(JSON.parse(cases), run);
