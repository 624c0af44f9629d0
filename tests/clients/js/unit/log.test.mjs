import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JobLog } from '../../../../clients/js/src/log.js';
import { newState } from '../../../../clients/js/src/state.js';

function logOf(...documents) {
  const told = [];
  const log = new JobLog(newState(), document => told.push(document));
  for (const document of documents) log.document(document);
  return { log, told };
}

const token = (id, text) => ({ id, kind: 'token', text });
const record = fields => ({
  id: 'j0-1', status: 'running', last_entry: 0, text: '', attempt: 1, queue_position: null, error: null, ...fields,
});

test('entries add up to text, reasoning, tool calls and usage', () => {
  const { log } = logOf(
    { id: 1, kind: 'started', attempt: 1, model: 'demo' },
    { id: 2, kind: 'reasoning', text: 'why' },
    token(3, 'Hel'),
    token(4, 'lo'),
    { id: 5, kind: 'tool_call', index: 0, call_id: 'c', name: 'f', arguments: '{"a"' },
    { id: 6, kind: 'tool_call', index: 0, arguments: ':1}' },
    { id: 7, kind: 'usage', at: 'x', input_tokens: 1, output_tokens: 2 },
    { id: 8, kind: 'done', finish_reason: 'stop' },
  );
  const { text, reasoning, toolCalls, usage, status, finishReason } = log.state;
  assert.deepEqual([text, reasoning, status, finishReason], ['Hello', 'why', 'succeeded', 'stop']);
  assert.deepEqual(toolCalls, [{ index: 0, id: 'c', name: 'f', arguments: '{"a":1}' }]);
  assert.deepEqual(usage, { input_tokens: 1, output_tokens: 2 });
  assert.equal(log.isEnded, true);
});

test('an entry that comes again is dropped', () => {
  const { log, told } = logOf(token(1, 'a'), token(1, 'a'), token(2, 'b'), token(1, 'a'));
  assert.equal(log.state.text, 'ab');
  assert.equal(told.length, 2);
});

test('restarted drops the text so far, continued keeps it', () => {
  const { log } = logOf(token(1, 'a'), { id: 2, kind: 'continued', attempt: 2 }, token(3, 'b'));
  assert.deepEqual([log.state.text, log.state.attempt], ['ab', 2]);
  log.document({ id: 4, kind: 'restarted', attempt: 3 });
  assert.deepEqual([log.state.text, log.state.attempt], ['', 3]);
});

test('an unknown kind moves the cursor and changes nothing else', () => {
  const { log } = logOf(token(1, 'a'), { id: 2, kind: 'constructor', text: 'b' });
  assert.deepEqual([log.cursor, log.state.text], [2, 'a']);
});

test('a gap is told, and the record then has the text', () => {
  const { log, told } = logOf(token(1, 'a'), { type: 'gap', requested: 2, earliest: 9, latest: 20 });
  assert.deepEqual([log.cursor, log.state.incomplete, told.at(-1).type], [8, true, 'gap']);
  log.adopt(record({ last_entry: 12, text: 'abcd' }));
  log.document(token(12, 'x'));
  log.document(token(13, 'e'));
  assert.equal(log.state.text, 'abcde');
});

test('a gap to the end of an ended log ends with the record', () => {
  const { log } = logOf(token(1, 'a'), { type: 'gap', requested: 2, earliest: null, latest: 1 });
  log.finish(record({ status: 'succeeded', last_entry: 0, text: 'all' }));
  assert.deepEqual([log.state.text, log.state.status, log.isEnded], ['all', 'succeeded', true]);
});

test('only a record as new as the log says the status', () => {
  const { log } = logOf(token(1, 'a'), token(2, 'b'));
  log.record(record({ status: 'queued', last_entry: 1, queue_position: 3 }));
  assert.equal(log.state.status, 'queued');
  log.document(token(3, 'c'));
  assert.deepEqual([log.state.status, log.state.queue], ['running', null]);
  log.record(record({ status: 'succeeded', last_entry: 9 }));
  assert.equal(log.state.status, 'running');
});

test('what a queued job waits for is told when it changes, and forgotten once it runs', () => {
  const queued = (position) => ({ type: 'queued', position, waiting_for: { reason: 'turn' } });
  const { log, told } = logOf(queued(2), queued(2), queued(1));
  assert.deepEqual(told, [queued(2), queued(1)]);
  assert.deepEqual([log.cursor, log.state.queue], [0, queued(1)]);
  log.document(token(1, 'a'));
  assert.equal(log.state.queue, null);
});

test('a failure of the job is no error of the reader', () => {
  const error = { code: 'x', message: 'y', retryable: false };
  const { log } = logOf({ id: 1, kind: 'failed', error });
  assert.deepEqual([log.state.status, log.state.failure], ['failed', error]);
});

test('the pieces of a result are joined; a restart begins it again, and a snapshot has it', () => {
  const log = new JobLog(newState(), () => {});
  const result = (id, body) => log.document({ id, kind: 'result', at: 'x', body });
  result(1, '{"data":[0.');
  result(2, '1]}');
  assert.equal(log.state.result, '{"data":[0.1]}');
  log.document({ id: 3, kind: 'restarted', at: 'x', attempt: 2 });
  assert.deepEqual([log.state.result, log.state.attempt, log.state.cursor, log.state.status], ['', 2, 3, 'running']);
  log.document({ type: 'snapshot', last: 5, text: '', reasoning: '', attempt: 2, result: '{}' });
  assert.equal(log.state.result, '{}');
});
