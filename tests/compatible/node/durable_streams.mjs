// node durable_streams.mjs URL RUNNING ENDED LONG: the client of Durable Streams reads three jobs. Prints each case's
// outcome.

import assert from 'node:assert/strict';
import { DurableStream, stream } from '@durable-streams/client';

import { report } from './openai_shared.mjs';

const [, , base, running, ended, long] = process.argv;
const urlOf = (job) => `${base}/durable/${job}`;
const numbersTo = (last) => Array.from({ length: last }, (_, at) => at + 1);

const ENDS = ['done', 'failed', 'cancelled'];

/** Read to the end, as a subscriber does. The client's `closed` comes before the last batch. */
async function followed(job, live, offset = '-1') {
  const answer = await stream({ url: urlOf(job), offset, live, json: true });
  const entries = [];
  const offsets = [];
  await new Promise((resolve, reject) => {
    answer.closed.catch(reject);
    answer.subscribeJson(async (batch) => {
      entries.push(...batch.items);
      offsets.push(batch.offset);
      const isEnd = batch.items.length ? ENDS.includes(batch.items.at(-1).kind) : batch.streamClosed;
      if (isEnd) resolve();
    });
  });
  assert.equal(answer.streamClosed, true);
  assert.deepEqual(offsets, [...offsets].sort());
  return { entries, last: offsets.at(-1) };
}

async function whole(job, live) {
  const { entries } = await followed(job, live);
  assert.deepEqual(entries.map((entry) => entry.id), numbersTo(entries.length));
  assert.equal(entries.at(-1).kind, 'done');
}

const cases = {
  async 'long polling, while it runs'() {
    await whole(running, 'long-poll');
  },
  async 'server-sent events, while it runs'() {
    await whole(running, 'sse');
  },
  async 'the mode that the client chooses'() {
    await whole(running, true);
  },
  async 'an ended job'() {
    const answer = await stream({ url: urlOf(ended), live: false });
    const entries = await answer.json();
    assert.deepEqual(entries.map((entry) => entry.id), numbersTo(entries.length));
    assert.equal(entries.at(-1).kind, 'done');
    const { entries: rest } = await followed(ended, 'sse', answer.offset);
    assert.deepEqual(rest, []);
  },
  async 'a long log, in pages'() {
    const answer = await stream({ url: urlOf(long) });
    const entries = await answer.json();
    assert.deepEqual(entries.map((entry) => entry.id), numbersTo(entries.length));
    assert.equal(entries.at(-1).kind, 'done');
    const { entries: same } = await followed(long, 'sse');
    assert.deepEqual(same, entries);
  },
  async 'from an offset'() {
    const half = await stream({ url: urlOf(running), live: false });
    await half.json();
    const { entries } = await followed(running, 'long-poll', half.offset);
    assert.equal(entries[0].id, Number(half.offset) + 1);
  },
  async 'from the end'() {
    const answer = await stream({ url: urlOf(ended), offset: 'now', live: false });
    assert.deepEqual(await answer.json(), []);
    assert.equal(answer.streamClosed, true);
  },
  async 'what there is'() {
    const head = await DurableStream.head({ url: urlOf(ended) });
    assert.equal(head.exists, true);
    assert.equal(head.contentType, 'application/json');
    assert.equal(head.streamClosed, true);
    const gone = await DurableStream.head({ url: urlOf('j0-00000000000000000000000000') });
    assert.equal(gone.exists, false);
  },
  async 'it cannot be written'() {
    const handle = new DurableStream({ url: urlOf(ended), contentType: 'application/json' });
    await assert.rejects(handle.append(JSON.stringify({ x: 1 })), /405|Method/i);
  },
};

await report(cases);
