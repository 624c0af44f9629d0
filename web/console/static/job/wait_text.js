/** Why a job has no text yet, in words. */

import { moment, t } from "../words.js";

const count = ({ running, limit }) => (limit === undefined ? "" : ` (${running}/${limit})`);

const WORDS = {
  turn: () => t("Waiting for its turn."),
  model_full: (why) => t("The model's limit of running jobs is reached.") + count(why),
  owner_limit: (why) => t("Your limit of running jobs is reached.") + count(why),
  rate_limit: ({ until }) =>
    until
      ? t("A rate limit is reached. It allows more at {time}.", { time: moment(until) })
      : t("A rate limit is reached."),
  upstream: ({ status, until }) =>
    t("The model's server refuses requests.") +
    (status ? ` (${status})` : "") +
    (until ? ` ${t("Next try at {time}.", { time: moment(until) })}` : ""),
  no_worker: () => t("No worker is running."),
  not_before: ({ until }) => t("It starts at {time} at the earliest.", { time: moment(until) }),
  conversation: ({ job }) => t("Another job of its conversation has not ended.") + (job ? ` (${job})` : ""),
};

/** The reason of a wait, or a general sentence where it is unknown. */
export function reasonOf(queue) {
  const why = queue?.waiting_for;
  return why && Object.hasOwn(WORDS, why.reason) ? WORDS[why.reason](why) : t("Waiting for a worker.");
}

/** The place in the queue and the estimated start, or an empty string. */
export function placeOf(queue) {
  const { position, position_is, estimated_start_at } = queue ?? {};
  if (position === null || position === undefined) return "";
  const ahead =
    position_is === "estimate"
      ? t("about {n} ahead in the queue", { n: position })
      : t("{n} ahead in the queue", { n: position });
  const place = position ? ahead : t("next in the queue");
  return estimated_start_at ? `${place}, ${t("starts about {time}", { time: moment(estimated_start_at) })}` : place;
}

/** Why an answer has no text; empty if another part of the page says so. */
export function whyNoText({ status, reasoning, queue, waiting, connection, result }) {
  if (connection === "refused") return "";
  if (waiting) return t("The model's server is not ready. Waiting.");
  if (status === "queued") return `${t("Queued.")} ${reasonOf(queue)}`;
  if (status === "running") return reasoning ? t("Thinking …") : t("Running. Waiting for the first token.");
  return status === "succeeded" && !result ? t("The answer is empty.") : "";
}
