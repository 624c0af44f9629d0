/** The caller's newest jobs, kept current by the events of the server instead of polls. */

import { matches } from "./matching.js";

const PAGE = 50;
/** Pages that are read to reach a time or a first job; "show more" reads further ones. */
const PAGES_AT_MOST = 8;
/** The place in the queue has no event. */
const QUEUED_AGAIN_MS = 5000;
/** Jobs that events may add to those that were read. Beyond that the list is read again, so that it stays bounded. */
const ADDED_AT_MOST = 500;

export class LiveList {
  #events = null;
  #known = new Map();
  #cursor = null;
  #asked = 0;
  #timer = 0;
  #wanted = {};
  #most = ADDED_AT_MOST;
  /** For each page being read, the events since its request: ids to jobs, to null for a job that left the list. */
  #reads = new Set();
  /** Whether the list was read. */
  isRead = false;
  /** Why the last read failed; null if it did not. */
  problem = null;

  /**
   * `source`: `events(options)`, which follows the events, and `jobs(query)`, a page of the list. `changed()` after
   * each change, `failed(error)`, `connection(state)`.
   */
  constructor(source, { changed, failed, connection }) {
    Object.assign(this, { source, changed, failed, connection });
  }

  /** The known jobs, newest first. */
  get jobs() {
    return [...this.#known.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0));
  }

  get hasMore() {
    return Boolean(this.#cursor);
  }

  /** Begin with other jobs: `{ status, batch, model, metadata, since }`; `since` in ms. */
  open(wanted) {
    this.close();
    this.#wanted = wanted;
    this.#events = this.source.events({
      batch: wanted.batch || undefined,
      onMissed: () => this.#read(),
      onEvent: (event) => this.#take(event),
      onConnection: (state, error) => this.#connected(state, error),
    });
    this.#timer = setInterval(() => this.#lookAtQueued(), QUEUED_AGAIN_MS);
  }

  close() {
    this.#asked += 1;
    clearInterval(this.#timer);
    this.#events?.stop();
    this.#events = null;
    this.problem = null;
    this.#empty();
  }

  async more() {
    await this.#page(this.#cursor, this.#asked).catch((error) => this.#fail(error));
  }

  #empty() {
    this.#known.clear();
    this.isRead = false;
    this.#cursor = null;
    this.#most = ADDED_AT_MOST;
  }

  /** Without a connection for events, each connection attempt reads the list. */
  #connected(state, error) {
    this.connection(state);
    if (state === "refused" && [401, 403].includes(error.status)) this.#fail(error);
    else if (error) this.#read();
  }

  #fail(error) {
    this.problem = error;
    this.failed(error);
    this.changed();
  }

  /** Reads the list again. The known jobs stay until the new list arrives. */
  async #read() {
    const asked = (this.#asked += 1);
    const before = new Map(this.#known);
    try {
      let page = await this.#page("", asked);
      for (let pages = 1; page && pages < PAGES_AT_MOST && this.#reaches(page); pages += 1)
        page = await this.#page(page.cursor, asked);
    } catch (error) {
      if (asked === this.#asked) this.#fail(error);
      return;
    }
    if (asked !== this.#asked) return;
    // A known job that is missing from the period that was read no longer exists.
    const oldest = this.#cursor ? (this.jobs.at(-1)?.created_at ?? "") : "";
    for (const [id, job] of before)
      if (this.#known.get(id) === job && job.created_at >= oldest) this.#known.delete(id);
    this.changed();
  }

  #reaches({ jobs: read, cursor }) {
    // The server examines a bounded number of jobs for a page, so a page of a filtered list may be empty.
    if (!cursor || !this.#known.size) return Boolean(cursor);
    return this.#wanted.since && Date.parse(read.at(-1)?.created_at ?? 0) > this.#wanted.since;
  }

  async #page(cursor, asked) {
    const page = await this.#fetched({ cursor: cursor ?? "" }, asked);
    if (page) {
      this.isRead = true;
      this.problem = null;
      this.#cursor = page.cursor;
    }
    this.#most = this.#known.size + ADDED_AT_MOST;
    this.changed();
    return page;
  }

  /** Reads a page of the list into the known jobs; null if the page is no longer wanted. */
  async #fetched(place, asked) {
    const { status, batch, model, metadata } = this.#wanted;
    const events = new Map();
    this.#reads.add(events);
    try {
      const page = await this.source.jobs({ status, batch, model, metadata, limit: PAGE, ...place });
      if (asked !== this.#asked) return null;
      // The page may be older than an event that arrived meanwhile, so the event wins.
      for (const job of page.jobs)
        if (!events.has(job.id)) this.#known.set(job.id, job);
        else if (events.get(job.id)) this.#known.set(job.id, updated(job, events.get(job.id)));
      return page;
    } finally {
      this.#reads.delete(events);
    }
  }

  #take({ kind, job }) {
    if (!job) return;
    // An event of a damaged record has only the id.
    const isIn = job.status && kind !== "job.deleted" && matches(updated(this.#known.get(job.id), job), this.#wanted);
    for (const events of this.#reads) events.set(job.id, isIn ? job : null);
    if (isIn) this.#known.set(job.id, updated(this.#known.get(job.id), job));
    else this.#known.delete(job.id);
    if (this.#known.size > this.#most) {
      this.#empty();
      this.#read();
    }
    this.changed();
  }

  async #lookAtQueued() {
    if (document.hidden || !this.jobs.some(({ status, batch }) => status === "queued" || (batch && status === "running"))) return;
    const page = await this.#fetched({}, this.#asked).catch(() => null);
    if (page) this.changed();
  }
}

/** The job after an event, which leaves out large metadata. */
const updated = (known, job) => ({ ...job, metadata: { ...known?.metadata, ...job.metadata } });
