import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ladder } from '../../../../clients/js/src/ladder.js';
import { Storage } from '../../../../clients/js/src/storage.js';

const NAMES = ['sse', 'websocket', 'long', 'short', 'answer'];
const TIMING = { climbMs: 1000, climbMostMs: 8000 };

function area() {
  const kept = new Map();
  return { getItem: key => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: key => kept.delete(key) };
}

function ladder({ clock = { ms: 0 }, store = new Storage(area()), names = NAMES } = {}) {
  return new Ladder(names, 'https://spool.example', TIMING, { store, now: () => clock.ms });
}

test('two strikes lead down, a sure one at once', () => {
  const tried = ladder();
  assert.equal(tried.next(), 'sse');
  tried.strike();
  assert.equal(tried.next(), 'sse');
  tried.strike();
  assert.equal(tried.next(), 'websocket');
  tried.strike(true);
  assert.equal(tried.next(), 'long');
});

test('a success forgives the strike before it', () => {
  const tried = ladder();
  tried.strike();
  tried.works();
  tried.strike();
  assert.equal(tried.next(), 'sse');
});

test('after the last transport comes the first', () => {
  const tried = ladder({ names: ['sse', 'short'] });
  tried.strike(true);
  tried.strike(true);
  assert.equal(tried.next(), 'sse');
});

test('after a while the one above is tried, and kept if it works', () => {
  const clock = { ms: 0 };
  const tried = ladder({ clock });
  tried.strike(true);
  tried.works();
  assert.equal(tried.climbInMs, 1000);
  clock.ms = 1000;
  assert.equal(tried.next(), 'sse');
  tried.works();
  assert.equal(tried.next(), 'sse');
  assert.equal(tried.climbInMs, Infinity);
});

test('a failed try leads back, and the next one is later', () => {
  const clock = { ms: 0 };
  const tried = ladder({ clock });
  tried.strike(true);
  tried.works();
  for (const waitMs of [1000, 2000, 4000, 8000, 8000]) {
    assert.equal(tried.climbInMs, waitMs);
    clock.ms += waitMs;
    assert.equal(tried.next(), 'sse');
    tried.strike();
    assert.equal(tried.next(), 'websocket');
  }
});

test('what worked is remembered for the origin, and the climb with it', () => {
  const clock = { ms: 0 };
  const store = new Storage(area());
  const tried = ladder({ clock, store });
  tried.strike(true);
  tried.strike(true);
  tried.works();
  clock.ms = 500;
  assert.equal(ladder({ clock, store }).next(), 'long');
  clock.ms = 1000;
  assert.equal(ladder({ clock, store }).next(), 'websocket');
  clock.ms = 90_000_000;
  assert.equal(ladder({ clock, store }).next(), 'sse');
});

test('silence tries the others in turn, and forgets them unless one works', () => {
  const tried = ladder();
  const names = [];
  for (let n = 0; n < 6; n += 1) {
    names.push(tried.next());
    tried.sidestep();
  }
  assert.deepEqual(names, ['sse', 'websocket', 'sse', 'long', 'sse', 'short']);
  assert.equal(tried.next(), 'sse');
  tried.sidestep();
  assert.equal(tried.next(), 'answer');
  tried.works();
  assert.equal(tried.next(), 'answer');
});

test('a storage that is forbidden changes nothing', () => {
  const forbidden = new Storage(() => {
    throw new Error('no');
  });
  const tried = ladder({ store: forbidden });
  tried.strike(true);
  tried.works();
  assert.equal(tried.next(), 'websocket');
});
