import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pacer } from '../../../../clients/js/src/pacer.js';

function paced(text, everyMs = 16, isWhole = false) {
  const clock = { ms: 0 };
  const pacer = new Pacer({ now: () => clock.ms });
  const lengths = [];
  for (let n = 0; n < 500 && lengths.at(-1) !== text.length; n += 1) {
    lengths.push(pacer.shown(text, isWhole).length);
    clock.ms += everyMs;
  }
  return { lengths, ms: clock.ms };
}

test('a lump appears in many steps, and within seconds', () => {
  const { lengths, ms } = paced('x'.repeat(2000));
  assert.ok(lengths.length > 50);
  assert.ok(ms < 4000);
  assert.equal(lengths.at(-1), 2000);
});

test('it never shows less than before while the text grows', () => {
  const { lengths } = paced('y'.repeat(500));
  assert.deepEqual(lengths, [...lengths].sort((a, b) => a - b));
});

test('no character is shown in halves', () => {
  const text = '😀é👩‍🚀'.repeat(40);
  const clock = { ms: 0 };
  const pacer = new Pacer({ now: () => clock.ms });
  for (let n = 0; n < 300; n += 1) {
    assert.ok(pacer.shown(text).isWellFormed());
    clock.ms += 7;
  }
});

test('a text that begins again is shown from its beginning', () => {
  const clock = { ms: 0 };
  const pacer = new Pacer({ now: () => clock.ms });
  pacer.skipTo(10);
  assert.equal(pacer.shown('0123456789'), '0123456789');
  assert.equal(pacer.shown('new'), '');
  clock.ms += 5000;
  assert.equal(pacer.shown('new'), 'new');
});
