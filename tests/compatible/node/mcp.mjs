// node mcp.mjs URL: MCP's SDK for Node at a Spool. Prints each case's outcome.

import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
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
};

const client = new Client({ name: 'spool-compatible', version: '1' });
await client.connect(new StreamableHTTPClientTransport(new URL(`${process.argv[2]}/mcp`)));
await report(cases, client);
