import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Memory } from '../../../../clients/js/src/memory.js';
import { newState } from '../../../../clients/js/src/state.js';
import { Storage } from '../../../../clients/js/src/storage.js';

function stored() {
  const kept = new Map();
  const area = { getItem: key => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: key => kept.delete(key) };
  return { kept, store: new Storage(area) };
}

test('the text and its cursor come back together', () => {
  const { store } = stored();
  const state = { ...newState(), cursor: 7, text: 'so far' };
  new Memory('o', 'j', state, store).save();
  assert.deepEqual(Memory.recall('o', 'j', store), state);
  assert.equal(Memory.recall('o', 'other', store), null);
});

test('an answer that is too long for the storage is not kept in part', () => {
  const { kept, store } = stored();
  const state = { ...newState(), cursor: 1, text: 'short' };
  const memory = new Memory('o', 'j', state, store);
  memory.save();
  state.text = 'x'.repeat(1_000_001);
  memory.save();
  assert.equal(kept.size, 0);
});

test('a result counts as text does', () => {
  const { kept, store } = stored();
  new Memory('o', 'j', { ...newState(), cursor: 1, result: 'x'.repeat(1_000_001) }, store).save();
  assert.equal(kept.size, 0);
});

test('what a version without results has stored is read again', () => {
  const { store } = stored();
  const { result: _result, ...state } = { ...newState(), cursor: 7 };
  store.set('spool.job o j', { version: 1, state });
  assert.equal(Memory.recall('o', 'j', store), null);
});

test('what is refused is forgotten', () => {
  const { kept, store } = stored();
  const memory = new Memory('o', 'j', newState(), store);
  memory.save();
  memory.forget();
  assert.equal(kept.size, 0);
});

test('a full storage keeps nothing, and nothing fails', () => {
  const area = { getItem: () => null, removeItem() {}, setItem() { throw new Error('full'); } };
  new Memory('o', 'j', newState(), new Storage(area)).save();
});
