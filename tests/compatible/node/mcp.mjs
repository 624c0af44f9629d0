// node mcp.mjs URL: MCP's SDK for Node at a Spool. Prints each case's outcome.

import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { report } from './openai_shared.mjs';

const called = async (client, name, args) => {
  const result = await client.callTool({ name, arguments: args });
  assert.equal(result.isError, false, JSON.stringify(result));
  return result.structuredContent;
};

const cases = {
  async tools(client) {
    const { tools } = await client.listTools();
    assert.deepEqual(tools.slice(0, 4).map((tool) => tool.name), ['submit_job', 'get_job', 'cancel_job', 'list_models']);
  },

  async 'a job to its end'(client) {
    const job = await called(client, 'submit_job', { prompt: 'Hi', params: { tokens: 5, rate: 0 }, wait_s: 30 });
    assert.deepEqual([job.status, job.usage.output_tokens], ['succeeded', 5]);
  },

  async cancel(client) {
    const { job } = await called(client, 'submit_job', { prompt: 'Hi', params: { tokens: 5000, rate: 40 } });
    await called(client, 'cancel_job', { job });
    assert.equal((await called(client, 'get_job', { job, wait_s: 30 })).status, 'cancelled');
  },

  async failure(client) {
    const result = await client.callTool({ name: 'submit_job', arguments: { prompt: 'Hi', model: 'none' } });
    assert.equal(result.isError, true);
    assert.match(result.content[0].text, /no model 'none'/);
  },

  async 'a task'(client) {
    const seen = await streamed(client, { prompt: 'Hi', params: { tokens: 5, rate: 0 } });
    assert.equal(seen[0].type, 'taskCreated');
    assert.equal(seen.at(-1).type, 'result', JSON.stringify(seen.at(-1)));
    assert.equal(seen.at(-1).result.structuredContent.usage.output_tokens, 5);
    const { tasks } = await client.experimental.tasks.listTasks();
    assert.ok(tasks.some((task) => task.taskId === seen[0].task.taskId));
  },

  async 'a task that is cancelled'(client) {
    const call = { name: 'submit_job', arguments: { prompt: 'Hi', params: { tokens: 5000, rate: 40 } } };
    const stream = client.experimental.tasks.callToolStream(call, CallToolResultSchema, { task: {} });
    for await (const message of stream) {
      if (message.type === 'taskCreated') {
        const task = await client.experimental.tasks.cancelTask(message.task.taskId);
        assert.equal(task.status, 'cancelled');
      }
      if (message.type === 'error') {
        assert.match(message.error.message, /was cancelled/);
        return;
      }
    }
    assert.fail('it was not cancelled');
  },

  async 'a task that fails'(client) {
    const seen = await streamed(client, { prompt: 'Hi', params: { fail_after: 2, rate: 0 } });
    assert.match(seen.at(-1).error.message, /failed/);
    const result = await client.experimental.tasks.getTaskResult(seen[0].task.taskId, CallToolResultSchema);
    assert.equal(result.isError, true);
    const refused = await streamed(client, { prompt: 'Hi', model: 'none' });
    assert.match(refused.at(-1).error.message, /no model 'none'/);
  },
};

async function streamed(client, args) {
  const seen = [];
  const call = { name: 'submit_job', arguments: args };
  for await (const message of client.experimental.tasks.callToolStream(call, CallToolResultSchema, { task: {} })) {
    seen.push(message);
  }
  return seen;
}

const client = new Client({ name: 'spool-compatible', version: '1' });
await client.connect(new StreamableHTTPClientTransport(new URL(`${process.argv[2]}/mcp`)));
await report(cases, client);
