// node side_by_side_ai.mjs URL CASES: the AI SDK's functions over its providers do what their users do, at a vendor's API
// or at Spool. CASES is JSON: client, program and model of each. Prints what each saw.

import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

import { report } from './side_by_side_cases.mjs';

// Warnings would be among the results.
globalThis.AI_SDK_LOG_WARNINGS = false;

const TIMEOUT_MS = 1500;
const PROMPT = 'What is a spool?';
const NAMES = ['one', 'two'];

const [url, cases] = process.argv.slice(2);
const MODELS = {
  chat: (name, options) => createOpenAI(options).chat(name),
  responses: (name, options) => createOpenAI(options).responses(name),
  compatible: (name, options) => createOpenAICompatible({ name: 'vendor', includeUsage: true, ...options })(name),
};
// The SDK asks for reasoning only where it knows the model's name, or is told so.
const reasoning = { forceReasoning: true, reasoningSummary: 'auto', include: ['reasoning.encrypted_content'] };
const providerOptions = { openai: reasoning };
const inputSchema = z.object({ city: z.string() });
const toolsOf = (execute) => Object.fromEntries(NAMES.map((name) => [name, tool({ inputSchema, ...execute })]));
const optionsOf = {
  tools: () => ({ tools: toolsOf({}) }),
  reasoning: () => ({ tools: toolsOf({ execute: () => '18' }), stopWhen: stepCountIs(2) }),
  // The SDK does not number its tries, so its users name the request.
  timeout: () => ({ maxRetries: 9, headers: { 'Idempotency-Key': crypto.randomUUID() } }),
  keyed: (model) => ({ headers: { 'Idempotency-Key': model } }),
};

function errorOf(error) {
  const last = error?.lastError ?? error;
  // Errors in a stream come as the vendor's object.
  const named = last?.data?.error ?? last?.error ?? last;
  return {
    class: last?.name ?? 'object',
    status: last?.statusCode ?? null,
    code: named?.code ?? named?.type ?? null,
  };
}

async function streamed(asked, seen, stops) {
  const leaving = new AbortController();
  const result = streamText({ ...asked, abortSignal: leaving.signal, onError() {} });
  for await (const part of result.fullStream) {
    if (part.type === 'text-delta') seen.text += part.text;
    if (part.type === 'reasoning-delta') seen.reasoning += part.text;
    if (part.type === 'tool-call') seen.tools.push([part.toolName, part.input]);
    if (part.type === 'error') seen.error = errorOf(part.error);
    if (part.type === 'finish') {
      seen.finish = part.finishReason;
      seen.usage = [part.totalUsage.inputTokens ?? null, part.totalUsage.outputTokens ?? null];
    }
    if (stops && seen.text) leaving.abort();
  }
}

/** A fetch whose tries end after a time as a lost connection does, which the SDK repeats. It repeats no abort. */
async function impatient(input, init) {
  try {
    return await fetch(input, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (cause) {
    throw new TypeError('fetch failed', { cause: new Error(cause.message) });
  }
}

async function run({ client, program, model }) {
  const kind = client.split('-').at(-1);
  const seen = { text: '', reasoning: '', tools: [], finish: null, usage: null, error: null };
  const options = { baseURL: `${url}/v1`, apiKey: 'none', ...(program === 'timeout' && { fetch: impatient }) };
  const asked = { model: MODELS[kind](model, options), prompt: PROMPT, providerOptions, ...optionsOf[program]?.(model) };
  try {
    if (['stream', 'keyed', 'stop', 'tools'].includes(program)) await streamed(asked, seen, program === 'stop');
    else {
      const answer = await generateText(asked);
      seen.text = answer.text;
      seen.reasoning = answer.reasoningText ?? '';
      seen.finish = answer.finishReason;
      seen.usage = [answer.usage.inputTokens ?? null, answer.usage.outputTokens ?? null];
    }
  } catch (error) {
    if (!(program === 'stop' && seen.text)) seen.error = errorOf(error);
  }
  return [model, seen];
}

await report(JSON.parse(cases), run);
