/** Figures of the server from its metrics. Uses no document and no network. */

const SAMPLE = /^(\w+)(?:\{(.*)\})? ([0-9.eE+-]+)$/gm;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The samples of a Prometheus text: `[{ name, labels, value }]`. */
export function samples(text) {
  return [...text.matchAll(SAMPLE)].map(([, name, labels = "", value]) => ({
    name,
    labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, said]) => [key, said])),
    value: Number(value),
  }));
}

/** The figures of a scrape. `models` has each model by name; the counters only grow, for rates. */
export function factsOf(text) {
  const all = samples(text);
  const of = (name) => all.filter((sample) => sample.name === name);
  const sum = (name, wanted = {}) =>
    of(name)
      .filter(({ labels }) => Object.entries(wanted).every(([key, value]) => labels[key] === value))
      .reduce((total, { value }) => total + value, 0);
  return {
    models: modelsOf(of),
    running: sum("spool_queue_jobs", { state: "running" }),
    queued: sum("spool_queue_jobs", { state: "queued" }),
    scheduled: sum("spool_queue_scheduled"),
    oldest: Math.max(0, ...of("spool_queue_oldest_seconds").map(({ value }) => value)),
    workers: sum("spool_workers"),
    slots: { free: sum("spool_worker_slots", { state: "free" }), all: sum("spool_worker_slots", { state: "all" }) },
    memory: { used: sum("spool_redis_memory_bytes", { what: "used" }), max: sum("spool_redis_memory_bytes", { what: "max" }) },
    streams: of("spool_streams").map(({ labels, value }) => ({ name: Object.values(labels).join(" "), value })),
    upstream: of("spool_upstream_answers_total").map(({ labels, value }) => ({ ...labels, value })),
    counters: {
      submitted: sum("spool_jobs_submitted_total"),
      ended: sum("spool_jobs_ended_total"),
      tokens: sum("spool_tokens_total", { direction: "output" }),
    },
  };
}

function modelsOf(of) {
  const models = new Map();
  const model = ({ labels }) => {
    const name = labels.model;
    if (!models.has(name)) models.set(name, { running: 0, queued: 0, oldest: {}, reasons: [], isClosed: false });
    return models.get(name);
  };
  for (const sample of of("spool_queue_jobs")) model(sample)[sample.labels.state] = sample.value;
  for (const sample of of("spool_queue_oldest_seconds")) model(sample).oldest[sample.labels.priority] = sample.value;
  for (const sample of of("spool_queue_oldest_reason")) if (sample.value) model(sample).reasons.push(sample.labels.reason);
  for (const sample of of("spool_model_closed")) model(sample).isClosed = sample.value === 1;
  return models;
}

/** The rates per second between two scrapes; a counter that fell was restarted. */
export function ratesOf(before, after, seconds) {
  const rate = (name) => Math.max(0, after[name] - before[name]) / seconds;
  return { submitted: rate("submitted"), ended: rate("ended"), tokens: rate("tokens") };
}
