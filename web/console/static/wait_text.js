/** What a queued job waits for, in words. Pure: no document, no network. */

const time = (at) => new Date(at).toLocaleTimeString();
const count = ({ running, limit }) => (limit === undefined ? "" : ` (${running} of ${limit} run)`);

const WORDS = {
  turn: () => "Waiting for its turn.",
  model_full: (why) => `The model runs as many jobs as it may${count(why)}.`,
  owner_limit: (why) => `Your running jobs are at their limit${count(why)}.`,
  rate_limit: ({ until }) => `A rate limit is reached${until ? `; it allows more at ${time(until)}` : ""}.`,
  upstream: ({ status, until }) =>
    `The model's server refuses requests${status ? ` (${status})` : ""}${until ? ` until ${time(until)}` : ""}.`,
  no_worker: () => "No worker is running.",
  not_before: ({ until }) => `It begins at ${new Date(until).toLocaleString()} at the earliest.`,
  conversation: ({ job }) => `Another job of its conversation has not ended${job ? `: ${job}` : ""}.`,
};

/** The reason of a wait, or a general sentence where it is unknown. */
export function reasonOf(wait) {
  const why = wait?.waiting_for;
  return why && Object.hasOwn(WORDS, why.reason) ? WORDS[why.reason](why) : "Waiting for a worker.";
}

/** The place in the queue and the estimated start, or an empty string. */
export function placeOf(wait) {
  if (!wait || wait.position === null || wait.position === undefined) return "";
  const about = wait.position_is === "estimate" ? "about " : "";
  const place = wait.position ? `${about}${wait.position} ahead in the queue` : "next in the queue";
  return wait.estimated_start_at ? `${place}, starts about ${time(wait.estimated_start_at)}` : place;
}
