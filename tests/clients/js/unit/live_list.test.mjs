import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LiveList } from '../../../../web/console/static/jobs/live_list.js';

globalThis.document = { hidden: false };

const job = (n, status, more = {}) => ({ id: `j${n}`, status, created_at: String(n).padStart(6, '0'), metadata: {}, ...more });
const event = (shown, kind = `job.${shown.status}`) => ({ kind, job: shown });

/** A list that is open. `answer(page)` answers the oldest open request for a page; `told` is what the server says. */
function opened(wanted = {}) {
  const asked = [];
  const failed = [];
  let told;
  const source = {
    events: options => ((told = options), { stop: () => {} }),
    jobs: () => new Promise((resolve, reject) => asked.push({ resolve, reject })),
  };
  const list = new LiveList(source, { changed: () => {}, failed: error => failed.push(error), connection: () => {} });
  list.open(wanted);
  const answer = async jobs => {
    asked.shift().resolve({ jobs, cursor: null });
    await new Promise(setImmediate);
  };
  return { list, told, answer, asked, failed };
}

const shown = list => list.jobs.map(({ id, status }) => `${id} ${status}`);

test('an event that comes while the list is read counts more than the list', async () => {
  const { list, told, answer } = opened();
  told.onMissed();
  told.onEvent(event(job(1, 'succeeded')));
  told.onEvent(event(job(2, 'cancelled'), 'job.deleted'));
  await answer([job(2, 'queued'), job(1, 'running', { metadata: { prompt: 'x' } })]);
  assert.deepEqual(shown(list), ['j1 succeeded']);
  assert.equal(list.jobs[0].metadata.prompt, 'x');
  list.close();
});

test('a job that leaves the filter while the list is read stays out', async () => {
  const { list, told, answer } = opened({ status: 'queued' });
  told.onMissed();
  told.onEvent(event(job(1, 'running'), 'job.started'));
  await answer([job(1, 'queued')]);
  assert.deepEqual(shown(list), []);
  list.close();
});

test('events of jobs with other metadata or another model stay out', async () => {
  const { list, told, answer } = opened({ model: 'demo', metadata: 'team=search' });
  told.onMissed();
  await answer([]);
  const search = { model: 'demo', metadata: { team: 'search' } };
  told.onEvent(event(job(1, 'queued', search)));
  told.onEvent(event(job(2, 'queued', { ...search, model: 'other' })));
  told.onEvent(event(job(3, 'queued', { model: 'demo', metadata: { team: 'ads' } })));
  // An event may come without metadata that is known from the list.
  told.onEvent(event(job(1, 'running', { model: 'demo', metadata: {} })));
  assert.deepEqual(shown(list), ['j1 running']);
  list.close();
});

test('empty pages of a filtered list are passed', async () => {
  const { list, told, asked } = opened({ metadata: 'team=search' });
  told.onMissed();
  asked.shift().resolve({ jobs: [], cursor: '7' });
  await new Promise(setImmediate);
  asked.shift().resolve({ jobs: [job(1, 'queued', { metadata: { team: 'search' } })], cursor: '5' });
  await new Promise(setImmediate);
  assert.deepEqual(shown(list), ['j1 queued']);
  assert.equal(asked.length, 0);
  list.close();
});

test('without a connection for events the list is read at each try', async () => {
  const { list, told, answer, failed } = opened();
  told.onConnection('waiting', Object.assign(new Error('full'), { status: 503 }));
  await answer([job(1, 'queued')]);
  assert.deepEqual(shown(list), ['j1 queued']);
  told.onConnection('refused', Object.assign(new Error('no'), { status: 401 }));
  assert.equal(failed.length, 1);
  list.close();
});

test('why the list could not be read stays until it is read', async () => {
  const { list, told, answer, asked } = opened();
  told.onMissed();
  asked.shift().reject(new Error('away'));
  await new Promise(setImmediate);
  assert.deepEqual([list.problem.message, list.isRead], ['away', false]);
  told.onMissed();
  await answer([]);
  assert.deepEqual([list.problem, list.isRead], [null, true]);
  list.close();
});

test('a list that events make long is read anew', async () => {
  const { list, told, answer, asked } = opened();
  told.onMissed();
  await answer([job(1, 'succeeded')]);
  for (let n = 2; n < 600; n += 1) told.onEvent(event(job(n, 'queued')));
  assert.equal(asked.length, 1);
  assert.ok(list.jobs.length < 200);
  await answer([job(599, 'queued'), job(598, 'queued')]);
  assert.ok(list.jobs.length < 200);
  list.close();
});

test('an event of a damaged record, which has its id alone, removes the job', async () => {
  const { list, told, answer } = opened();
  told.onMissed();
  await answer([job(1, 'running')]);
  told.onEvent({ kind: 'job.failed', job: { id: 'j1' } });
  assert.deepEqual(shown(list), []);
  list.close();
});
