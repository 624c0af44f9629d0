import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpoolError } from '../../../../clients/js/src/errors.js';
import { post } from '../../../../clients/js/src/submit.js';
import { TIMING } from '../../../../clients/js/src/timing.js';

/** A server that fails so often, then answers; it keeps the keys that it was asked under. */
function failing(times, error) {
  const keys = [];
  const json = async (_path, { headers }) => {
    keys.push(headers['Idempotency-Key']);
    if (keys.length <= times) throw error;
    return { id: 'j0-1' };
  };
  return { keys, http: { json, timing: { ...TIMING, retryMs: 1 } } };
}

test('each wait for another attempt is announced, and all attempts have one key', async () => {
  const lost = new SpoolError('The server cannot be reached');
  const { keys, http } = failing(2, lost);
  const told = [];
  const job = await post(http, '/jobs', { prompt: 'x' }, { onRetry: (error, waitMs) => told.push([error, waitMs > 0]) });
  assert.equal(job.id, 'j0-1');
  assert.deepEqual(told, [[lost, true], [lost, true]]);
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
});

test('a refusal is no wait', async () => {
  const { http } = failing(1, new SpoolError('prompt is empty', { status: 422 }));
  await assert.rejects(post(http, '/jobs', {}, { onRetry: () => assert.fail('it waits') }), /prompt is empty/);
});
