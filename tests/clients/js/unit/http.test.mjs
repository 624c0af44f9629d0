import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isRefusal, retryAfterMs, SpoolError } from '../../../../clients/js/src/errors.js';
import { Http } from '../../../../clients/js/src/http.js';

const problem = { 'Content-Type': 'application/problem+json' };
const silent = (_url, { signal }) =>
  new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason));
  });
const http = (fetch, options = {}) => new Http({ baseUrl: 'http://spool.example/', fetch, ...options });

test('a token that is a function is refreshed once after a 401', async () => {
  const asked = [];
  const token = async ({ refresh }) => (asked.push(refresh), refresh ? 'new' : 'old');
  const fetch = async (url, { headers }) =>
    headers.Authorization === 'Bearer new' ? Response.json({ url }) : new Response('{}', { status: 401, headers: problem });
  assert.deepEqual(await http(fetch, { token }).json('/jobs/x'), { url: 'http://spool.example/jobs/x' });
  assert.deepEqual(asked, [false, true]);
});

test('many requests that need a new token cause one refresh', async () => {
  let refreshes = 0;
  let current = 'old';
  const token = async ({ refresh }) => {
    if (refresh) {
      refreshes += 1;
      await new Promise(resolve => setTimeout(resolve, 5));
      current = 'new';
    }
    return current;
  };
  const fetch = async (_url, { headers }) =>
    headers.Authorization === 'Bearer new' ? Response.json({}) : new Response('{}', { status: 401, headers: problem });
  const client = http(fetch, { token });
  await Promise.all([1, 2, 3].map(() => client.json('/x')));
  assert.equal(refreshes, 1);
});

test('a request without an answer ends by its timeout', async () => {
  await assert.rejects(http(silent).json('/x', { timeoutMs: 5 }), { status: 0, message: 'No answer within 5 ms' });
});

test('the caller can end a request', async () => {
  const abort = new AbortController();
  const request = http(silent).json('/x', { signal: abort.signal });
  abort.abort(new Error('enough'));
  await assert.rejects(request, { message: 'enough' });
});

test('an error carries the problem and the time to come back', async () => {
  const document = { title: 'Queue full', detail: 'queue is full', status: 503 };
  const fetch = async () => Response.json(document, { status: 503, headers: { ...problem, 'Retry-After': '7' } });
  await assert.rejects(http(fetch).json('/x'), error => {
    assert.deepEqual([error.status, error.message, error.retryAfterMs, error.isTemporary], [503, 'queue is full', 7000, true]);
    return true;
  });
});

test('the error page of a proxy is no refusal of the server', () => {
  assert.equal(isRefusal(new SpoolError('', { status: 403 })), false);
  assert.equal(isRefusal(new SpoolError('', { status: 403, problem: {} })), true);
  assert.equal(isRefusal(new SpoolError('', { status: 401 })), true);
  assert.equal(isRefusal(new SpoolError('', { status: 503, problem: {} })), false);
});

test('Retry-After is seconds or a date', () => {
  assert.equal(retryAfterMs('3'), 3000);
  assert.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:10 GMT', 4000), 6000);
  assert.equal(retryAfterMs('soon'), 0);
  assert.equal(retryAfterMs(null), 0);
});
