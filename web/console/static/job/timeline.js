/** The timeline of a job: its submission, waits, attempts and end. */

import { element } from "../dom.js";
import { duration, moment, t } from "../words.js";

const WORDS = {
  started: ({ attempt, model }) => t("Attempt {attempt} started with {model}", { attempt, model }),
  waiting: ({ reason }) => t("Waiting: {reason}", { reason }),
  restarted: ({ attempt, reason }) => t("Attempt {attempt} restarted the text ({reason})", { attempt, reason }),
  continued: ({ attempt, reason }) => t("Attempt {attempt} continued the text ({reason})", { attempt, reason }),
  done: ({ finish_reason }) => t("Succeeded ({reason})", { reason: finish_reason || "stop" }),
  failed: ({ error }) => t("Failed: {message}", { message: error?.message ?? "" }),
  cancelled: () => t("Cancelled"),
  killed: ({ part, process }) => t("{part} was killed (process {process})", { part: PARTS[part](), process }),
  resumed: ({ process, gap }) => {
    const said = gap
      ? t("The text continues after a gap of {gap}", { gap: duration(gap) })
      : t("The text continued without a gap");
    return process ? `${said} (${t("worker process {process}", { process })})` : said;
  },
};
const PARTS = { worker: () => t("The worker"), web: () => t("A web"), redis: () => t("Redis") };

/** The events, oldest first: `[{ at, kind, text }]`. */
export function history(job, trace) {
  const events = trace.events.map((event) => ({
    at: event.at,
    kind: event.kind,
    text: Object.hasOwn(WORDS, event.kind) ? WORDS[event.kind](event) : event.kind,
  }));
  if (trace.firstTokenAt) events.push({ at: trace.firstTokenAt, kind: "token", text: t("First token") });
  if (job?.cancel_requested_at) {
    events.push({ at: Date.parse(job.cancel_requested_at), kind: "cancelled", text: t("Cancel was requested") });
  }
  events.sort((a, b) => a.at - b.at);
  if (!job) return events;
  // The submission and the first entry may have the same millisecond, or be off by one: two processes write them.
  const created = Date.parse(job.created_at);
  const later = events.map((event) => ({ ...event, at: Math.max(event.at, created) }));
  return [{ at: created, kind: "queued", text: t("Submitted") }, ...later];
}

/** Draws the history into a list; nothing if it has not changed. */
export class Timeline {
  #drawn = "";

  constructor(list) {
    this.list = list;
  }

  draw(job, trace) {
    const events = history(job, trace);
    const drawn = JSON.stringify(events);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const begin = events[0]?.at ?? 0;
    this.list.replaceChildren(
      ...events.map(({ at, kind, text }) =>
        element(
          "li",
          { "data-kind": kind },
          element("time", { dateTime: new Date(at).toISOString(), title: moment(at) }, `+${duration(at - begin)}`),
          element("span", {}, text),
        ),
      ),
    );
  }
}
