import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchLog } from '../../../../clients/js/src/batch_log.js';

const line = (id, status = 'succeeded') => ({ id, kind: 'line', status });
const record = (last_entry, counts, ended = false) => ({ last_entry, counts, ended });

function logOf() {
  const told = [];
  return { log: new BatchLog(0, entry => told.push(entry.id)), told };
}

test('each line is told once', () => {
  const { log, told } = logOf();
  for (const id of [1, 2, 2, 1, 3]) log.document(line(id));
  assert.deepEqual(told, [1, 2, 3]);
  assert.equal(log.cursor, 3);
});

test('counts move on with the lines, and no line counts twice', () => {
  const { log } = logOf();
  log.record(record(0, { queued: 1, running: 2, succeeded: 0, failed: 0 }));
  log.document(line(1));
  log.document(line(2, 'failed'));
  log.document(line(3));
  assert.deepEqual(log.counts, { queued: 0, running: 0, succeeded: 2, failed: 1 });
  log.record(record(2, { queued: 0, running: 1, succeeded: 1, failed: 1 }));
  assert.deepEqual(log.counts, { queued: 0, running: 0, succeeded: 2, failed: 1 });
});

test('an older record changes nothing', () => {
  const { log } = logOf();
  log.record(record(2, { running: 1, succeeded: 2 }));
  log.record(record(1, { running: 2, succeeded: 1 }));
  assert.deepEqual(log.counts, { running: 1, succeeded: 2 });
});

test('the terminal entry ends the log', () => {
  const { log, told } = logOf();
  log.document(line(1));
  log.document({ id: 2, kind: 'done' });
  assert.equal(log.isEnded, true);
  assert.deepEqual(told, [1]);
});
