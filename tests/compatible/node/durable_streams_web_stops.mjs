// node durable_streams_web_stops.mjs URL JOB LIVE: read a job while its web is restarted. Prints the ids that came, and
// the error that ended the session, after which a new one continues from the last offset.

import { stream } from '@durable-streams/client';

const [, , base, job, live] = process.argv;
const ids = [];
const errors = [];
let offset = '-1';
let isOver = false;

async function session() {
  const answer = await stream({ url: `${base}/durable/${job}`, offset, live, json: true });
  await new Promise((resolve) => {
    answer.closed.catch((error) => {
      errors.push(String(error));
      resolve();
    });
    answer.subscribeJson((batch) => {
      ids.push(...batch.items.map((entry) => entry.id));
      offset = batch.offset;
      isOver ||= batch.items.at(-1)?.kind === 'done';
      if (isOver) resolve();
    });
  });
}

while (!isOver) await session();
process.stdout.write(JSON.stringify({ ids, errors }), () => process.exit());
