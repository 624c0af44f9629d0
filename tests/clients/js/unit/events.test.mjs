import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Events } from '../../../../clients/js/src/events.js';
import { Http } from '../../../../clients/js/src/http.js';

const timing = { retryMs: 1, retryMostMs: 1, firstBytesMs: 20 };
const stream = { 'Content-Type': 'text/event-stream' };
const attached = after => `event: attached\ndata: {"type":"attached","after":${after},"last":${after}}\n\n`;
const event = id => `id: ${id}\nevent: job.queued\ndata: {"id":${id},"kind":"job.queued","job":{"id":"j${id}"}}\n\n`;

/** Follows answers in turn, until `count` events have come. Resolves to what was asked and told. */
async function followed(answers, count) {
  const asked = [];
  const told = [];
  await new Promise((resolve, reject) => {
    const fetch = async (url, { headers, signal }) => {
      asked.push([new URL(url).searchParams.get('after'), headers.Accept]);
      const answer = answers.shift();
      if (!answer) return new Promise((_ok, fail) => signal.addEventListener('abort', () => fail(signal.reason)));
      return answer();
    };
    const events = new Events(new Http({ baseUrl: 'http://spool.example', fetch, timing }), {
      onMissed: () => told.push('missed'),
      onEvent: ({ id }) => {
        told.push(id);
        if (told.filter(Number).length === count) resolve(events.stop());
      },
      onConnection: (state, error) => state === 'refused' && reject(error),
    });
  });
  return { asked, told };
}

test('a stream that ends resumes at its cursor, and the list is read once', async () => {
  const { asked, told } = await followed(
    [
      () => new Response(attached(5) + event(6), { headers: stream }),
      () => new Response('', { status: 502 }),
      () => new Response(attached(6) + event(7), { headers: stream }),
    ],
    2,
  );
  assert.deepEqual(told, ['missed', 6, 7]);
  assert.deepEqual(asked.map(([after]) => after), [null, '6', '6']);
});

test('a gap and lost history make it read the list again', async () => {
  const lost = 'id: 6\nevent: restarted\ndata: {"id":6,"kind":"restarted"}\n\n';
  const gap = 'id: 8\nevent: gap\ndata: {"type":"gap","requested":7}\n\n';
  const { told } = await followed([() => new Response(attached(5) + lost + gap + event(9), { headers: stream })], 1);
  assert.deepEqual(told, ['missed', 'missed', 'missed', 9]);
});

test('a stream that is held back is replaced by long polling', async () => {
  const page = entries => () => Response.json({ entries, next: entries.at(-1)?.id ?? 5, gap: null });
  const { asked, told } = await followed([null, page([]), page([{ id: 6, kind: 'job.queued' }])], 1);
  assert.deepEqual(told, ['missed', 6]);
  assert.deepEqual(asked.map(([, accept]) => accept), ['text/event-stream', 'application/json', 'application/json']);
});

test('a stream that is refused for now is replaced by long polling', async () => {
  const off = 'retry: 30000\nevent: unavailable\ndata: {"type":"unavailable","reason":"Transport off","detail":"off"}\n\n';
  const page = entries => () => Response.json({ entries, next: entries.at(-1)?.id ?? 5, gap: null });
  const answers = [() => new Response(off, { headers: stream }), page([]), page([{ id: 6, kind: 'job.queued' }])];
  const { asked, told } = await followed(answers, 1);
  assert.deepEqual(told, ['missed', 6]);
  assert.deepEqual(asked.map(([, accept]) => accept), ['text/event-stream', 'application/json', 'application/json']);
});

test('a refusal ends it', async () => {
  const problem = { 'Content-Type': 'application/problem+json' };
  const refuse = () => Response.json({ detail: 'no' }, { status: 403, headers: problem });
  await assert.rejects(followed([refuse], 1), { message: 'no' });
});
