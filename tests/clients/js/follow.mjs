// Follows one job, as a program would, and prints what it sees: a line of JSON per change, and one at the end.
//
//     node follow.mjs '{"url", "job", "options", "timing", "token"}'

import { Client } from '../../../clients/js/src/index.js';

const { url, job, options = {}, timing = {}, token } = JSON.parse(process.argv[2]);
const begunAt = performance.now();
const seen = { ids: [], text: '', kinds: [], firstTextMs: null, transports: [], states: [] };

const note = (list, value) => value !== null && list.at(-1) !== value && list.push(value);
const print = document => process.stdout.write(`${JSON.stringify(document)}\n`);

const client = new Client({ baseUrl: url, timing, token });
const follow = client.follow(job, {
  ...options,
  onChange: ({ lastEntry, connection, transport, status, position, connections }) =>
    print({ lastEntry, connection, transport, status, position, connections }),
});
const { changed } = follow.follower;
follow.follower.changed = () => {
  note(seen.transports, follow.follower.transport);
  note(seen.states, follow.follower.connection);
  changed();
};

process.stdin.on('data', data => {
  for (const word of String(data).trim().split('\n')) follow[word]();
});

async function readAll() {
  for await (const document of follow) {
    if (document.kind) seen.ids.push(document.id);
    else note(seen.kinds, document.type);
    if (document.kind === 'restarted') seen.text = '';
    if (document.kind === 'token') seen.text += document.text;
    if (document.type === 'snapshot') seen.text = document.text;
    if (seen.text) seen.firstTextMs ??= Math.round(performance.now() - begunAt);
  }
}

async function readOn() {
  await readAll();
  // Stopped by the test, which starts it again.
  while (follow.view.connection === 'stopped') {
    await new Promise(resolve => setTimeout(resolve, 20));
    if (follow.view.connection !== 'stopped') await readAll();
  }
}

await readOn().catch(error => (seen.error = { status: error.status, message: error.message }));
const { view } = follow;
print({ end: { ...seen, view: { ...view, error: view.error && String(view.error.message ?? view.error.code) } } });
process.exit();
