// node ag_ui.mjs URL: AG-UI's HttpAgent at a Spool before scripted upstreams. Prints each case's outcome.

import assert from 'node:assert/strict';
import { HttpAgent } from '@ag-ui/client';

import { report } from './openai_shared.mjs';

const url = `${process.argv[2]}/agui`;
const agentOf = (content) => new HttpAgent({ url, initialMessages: [{ id: 'u1', role: 'user', content }] });
const TOOLS = [{ name: 'one', description: 'd', parameters: { type: 'object', properties: {} } }];

/** The errors of a run: those that it raises, and the codes of its events. */
async function failed(content, agent = agentOf(content)) {
  const errors = [];
  const onRunErrorEvent = ({ event }) => void errors.push(event.code);
  await agent.runAgent({ forwardedProps: { model: 'fails' } }, { onRunErrorEvent }).catch((error) => errors.push(error));
  return errors;
}

const cases = {
  async 'a run'() {
    const agent = agentOf('Hi');
    const types = [];
    await agent.runAgent(
      { tools: TOOLS, forwardedProps: { model: 'm' } },
      { onEvent: ({ event }) => void types.push(event.type) },
    );
    assert.deepEqual([types[0], types.at(-1)], ['RUN_STARTED', 'RUN_FINISHED']);
    const said = agent.messages.filter((message) => message.role === 'assistant');
    assert.equal(said.map((message) => message.content ?? '').join(''), 'Let me see.');
    const calls = said.flatMap((message) => message.toolCalls ?? []);
    assert.deepEqual(
      calls.map((call) => [call.function.name, call.function.arguments]),
      [['one', '{"city":"Oslo"}'], ['two', '{"city":"Oslo"}']],
    );
  },

  async 'the result of a tool'() {
    const agent = agentOf('Hi');
    await agent.runAgent({ forwardedProps: { model: 'm' } });
    for (const call of agent.messages.flatMap((message) => message.toolCalls ?? []))
      agent.addMessage({ id: `r-${call.id}`, role: 'tool', toolCallId: call.id, content: 'cold' });
    await agent.runAgent({ forwardedProps: { model: 'thinks' } });
    assert.match(agent.messages.at(-1).content, /^Answer [12]\.$/);
  },

  async 'a failure before the first token'() {
    // On a machine that is so busy that the run has begun meanwhile, it is an event.
    assert.match(String(await failed('words')), /400|context_length_exceeded/);
  },

  async 'a failure in the run'() {
    const agent = agentOf('later quota');
    assert.deepEqual(await failed('later quota', agent), ['insufficient_quota']);
    assert.equal(agent.messages.at(-1).content, 'Hel');
  },
};

await report(cases);
