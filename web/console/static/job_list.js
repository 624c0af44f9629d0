/** The caller's latest jobs, to open again. */

import { recentJobs } from "./api.js";
import { byId, element } from "./dom.js";

const SHOWN = 12;

/** Show them; `current` is the one that is open. Throws `ApiProblem`. */
export async function showJobs(current) {
  const { jobs } = await recentJobs(SHOWN);
  byId("jobs").replaceChildren(...jobs.map((job) => element("li", {}, link(job, current))));
  byId("jobs-empty").hidden = jobs.length > 0;
}

function link(job, current) {
  const made = element(
    "a",
    { href: `#job=${job.id}`, title: job.id },
    element("span", { className: "chip-status small", "data-status": job.status }, job.status),
    element("span", { className: "job-title", dir: "auto" }, job.metadata?.prompt || job.id),
    element("time", { dateTime: job.created_at }, new Date(job.created_at).toLocaleTimeString()),
  );
  if (job.id === current) made.setAttribute("aria-current", "true");
  return made;
}
