/** Whether a job is one of those that a filter asks for. */

/** `wanted`: `{ status, model, metadata, since, words }`, empty where it does not matter; `since` in ms. */
export function matches(job, { status, model, metadata, since, words }) {
  return (
    (!status || job.status === status) &&
    (!model || job.model === model) &&
    (!since || Date.parse(job.created_at) >= since) &&
    hasMetadata(job.metadata ?? {}, metadata) &&
    (!words || (job.metadata?.prompt ?? "").toLowerCase().includes(words.toLowerCase()))
  );
}

/** `wanted`: a name, or `name=value`. */
function hasMetadata(found, wanted) {
  if (!wanted) return true;
  const [name, ...value] = wanted.split("=");
  if (!Object.hasOwn(found, name)) return false;
  return !value.length || found[name] === value.join("=");
}
