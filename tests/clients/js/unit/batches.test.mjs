import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Batches } from '../../../../clients/js/src/batches.js';
import { Http } from '../../../../clients/js/src/http.js';

const quick = { pollMs: 1, retryMs: 1, retryMostMs: 2 };

/** Batches of a server that gives these answers, one after the other: a function of the request, or a thrown error. */
function batchesOf(...answers) {
  const asked = [];
  const fetch = async (url, { method = 'GET', headers = {}, body } = {}) => {
    const path = url.replace('http://spool.example', '');
    asked.push({ path, method, key: new Headers(headers).get('Idempotency-Key'), body: body && JSON.parse(body) });
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer();
  };
  const http = new Http({ baseUrl: 'http://spool.example', fetch });
  http.timing = { ...http.timing, ...quick };
  return { batches: new Batches(http), asked };
}

const json = (document, status = 200, headers = {}) => () => Response.json(document, { status, headers });
const counts = (succeeded, rest = {}) => ({ queued: 0, running: 0, succeeded, failed: 0, cancelled: 0, ...rest });
const record = (succeeded, ended = false) => json({ id: 'b', counts: counts(succeeded), ended });
const lines = (...documents) => () => new Response(documents.map(one => `${JSON.stringify(one)}\n`).join(''));
const result = (batch_index, cursor) => ({ id: `j${batch_index}`, batch_index, cursor });
const lost = () => new TypeError('fetch failed');

async function all(results) {
  const found = [];
  for await (const one of results) found.push(one.id);
  return found;
}

test('an open batch is opened once, however often the request is sent', async () => {
  const { batches, asked } = batchesOf(lost(), json({ id: 'b', open: true }, 202));
  const batch = await batches.open({ metadata: { of: 'monday' } });
  assert.equal(batch.open, true);
  assert.deepEqual(asked[0].body, { metadata: { of: 'monday' }, open: true });
  assert.equal(asked[0].path, '/batches');
  assert.equal(new Set(asked.map(one => one.key)).size, 1);
});

test('a piece is added once, however often the request is sent', async () => {
  const { batches, asked } = batchesOf(lost(), json({ first: 0, count: 2, batch: 'b' }));
  const added = await batches.add('b', [{ prompt: 'x' }, { prompt: 'y' }], { idempotencyKey: 'piece-1' });
  assert.deepEqual([added.first, added.count], [0, 2]);
  assert.deepEqual(asked.map(one => [one.path, one.key]), Array(2).fill(['/batches/b/lines', 'piece-1']));
});

test('a sealed batch takes no lines', async () => {
  const refused = json({ detail: 'is sealed' }, 409, { 'Content-Type': 'application/problem+json' });
  const { batches, asked } = batchesOf(json({ id: 'b', open: false }), refused);
  assert.equal((await batches.seal('b')).open, false);
  await assert.rejects(batches.add('b', []), { status: 409, message: 'is sealed' });
  assert.deepEqual(asked.map(one => `${one.method} ${one.path}`), ['POST /batches/b/seal', 'POST /batches/b/lines']);
});

test('calls of a batch have its paths', async () => {
  const answers = Array.from({ length: 6 }, () => json({ id: 'b' }));
  const { batches, asked } = batchesOf(...answers, json({ batches: [], cursor: null }), () => new Response(null, { status: 204 }));
  for (const call of ['get', 'cancel', 'pause', 'resume', 'retry', 'seal']) await batches[call]('b/1');
  await batches.list({ limit: 5, cursor: '7', filters: { metadata: 'of=monday' } });
  await batches.delete('b/1');
  assert.deepEqual(asked.map(one => `${one.method} ${one.path}`), [
    'GET /batches/b%2F1',
    ...['cancel', 'pause', 'resume', 'retry', 'seal'].map(call => `POST /batches/b%2F1/${call}`),
    'GET /batches?limit=5&cursor=7&metadata=of%3Dmonday',
    'DELETE /batches/b%2F1',
  ]);
});

test('each result comes once, through a lost connection', async () => {
  const { batches, asked } = batchesOf(
    record(2),
    lost(),
    record(2),
    lines(result(0, 1), result(1, 2)),
    record(3, true),
    lines(result(2, 3)),
  );
  assert.deepEqual(await all(batches.results('b')), ['j0', 'j1', 'j2']);
  assert.equal(asked.at(-1).path, '/batches/b/results?after=2');
});

test('cursors may jump, and a job that ends again is not given again', async () => {
  const { batches, asked } = batchesOf(
    record(2),
    lines(result(0, 1), result(1, 2)),
    record(1),
    record(3, true),
    lines(result(1, 600001), result(2, 600002)),
  );
  assert.deepEqual(await all(batches.results('b')), ['j0', 'j1', 'j2']);
  assert.equal(asked.length, 5);
});

test('waiting reports each change of the counts once', async () => {
  const seen = [];
  const { batches } = batchesOf(record(0), record(0), lost(), record(2), record(3, true));
  const ended = await batches.wait('b', { onProgress: batch => seen.push(batch.counts.succeeded) });
  assert.deepEqual([ended.ended, seen], [true, [0, 2, 3]]);
});
