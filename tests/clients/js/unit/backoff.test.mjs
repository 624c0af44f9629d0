import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../../../../clients/js/src/backoff.js';

const TIMING = { retryMs: 100, retryMostMs: 1000, outageMostMs: 5000 };

test('pauses double to the most, and begin again after a success', () => {
  const backoff = new Backoff(TIMING, () => 1);
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => backoff.next()), [100, 200, 400, 800, 1000, 1000]);
  backoff.reset();
  assert.equal(backoff.next(), 100);
});

test('pauses differ between readers, by up to a half', () => {
  assert.equal(new Backoff(TIMING, () => 0).next(), 50);
  assert.equal(new Backoff(TIMING, () => 1).next(), 100);
});

test('what the server asks for is never undercut', () => {
  assert.equal(new Backoff(TIMING, () => 0).next(7000), 7000);
  assert.equal(new Backoff(TIMING, () => 1).next(7000), 8750);
});

test('a long outage is asked about less often', () => {
  const backoff = new Backoff(TIMING, () => 1);
  for (let n = 0; n < 26; n += 1) backoff.next();
  assert.equal(backoff.next(), 5000);
});
