/** The client: one object for one server and one credential. */

import { Batches } from "./batches.js";
import { Events } from "./events.js";
import { Follow } from "./follow.js";
import { Http } from "./http.js";
import { post } from "./submit.js";

export class Client {
  /** `baseUrl`: the page's origin by default. `token`: a string, or `({ refresh }) => string | Promise<string>`. */
  constructor(options = {}) {
    this.http = new Http(options);
    this.transports = options.transports;
    this.batches = new Batches(this.http);
  }

  /** Submit a job: a prompt, or the fields of `POST /jobs`. Resolves to the job's record. */
  submit(submission, options) {
    const fields = typeof submission === "string" ? { prompt: submission } : submission;
    return post(this.http, "/jobs", fields, options);
  }

  /** Follow a job's log. `job`: its id or its record. */
  follow(job, options = {}) {
    return new Follow(this.http, idOf(job), { transports: this.transports, ...options });
  }

  /** The events of the caller's jobs and batches, until `stop()`. */
  events(options = {}) {
    return new Events(this.http, options);
  }

  /** The job's record. */
  job(job, options) {
    return this.http.json(path(job), options);
  }

  /** Wait for the end. Resolves to the record, whatever the end is; raises the server's refusal. */
  async wait(job, options = {}) {
    const follow = this.follow(job, { keep: false, ...options });
    for await (const document of follow) void document;
    options.signal?.throwIfAborted();
    return this.job(job, options);
  }

  /** Request the job's cancellation. Resolves to its record. */
  cancel(job, options) {
    return this.http.json(`${path(job)}/cancel`, { ...options, method: "POST" });
  }
}

const idOf = (job) => (typeof job === "string" ? job : job.id);
const path = (job) => `/jobs/${encodeURIComponent(idOf(job))}`;
