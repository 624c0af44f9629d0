/** The caller's newest jobs, kept current by the events of the server instead of polls. */

import { client, jobs } from "../connection.js";

const PAGE = 50;
/** Pages that are read to reach a time; beyond them, "show more" goes on. */
const PAGES_AT_MOST = 8;
/** The place in the queue has no event. */
const QUEUED_AGAIN_MS = 5000;

export class LiveList {
  #events = null;
  #known = new Map();
  #cursor = null;
  #asked = 0;
  #timer = 0;
  #wanted = {};

  /** `changed()` after each change, `failed(error)`, `connection(state)`. */
  constructor({ changed, failed, connection }) {
    Object.assign(this, { changed, failed, connection });
  }

  /** The known jobs, newest first. */
  get jobs() {
    return [...this.#known.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0));
  }

  get hasMore() {
    return Boolean(this.#cursor);
  }

  /** Begin with other jobs: `{ status, batch, since }`; `since` in ms. */
  open(wanted) {
    this.close();
    this.#wanted = wanted;
    this.#events = client().events({
      batch: wanted.batch || undefined,
      onMissed: () => this.#read(),
      onEvent: (event) => this.#take(event),
      onConnection: (state, error) => {
        this.connection(state);
        if (state === "refused") this.failed(error);
      },
    });
    this.#timer = setInterval(() => this.#lookAtQueued(), QUEUED_AGAIN_MS);
  }

  close() {
    this.#asked += 1;
    clearInterval(this.#timer);
    this.#events?.stop();
    this.#events = null;
    this.#known.clear();
    this.#cursor = null;
  }

  async more() {
    await this.#page(this.#cursor, this.#asked);
  }

  /** Reads the list again; what is known stays until it is there. */
  async #read() {
    const asked = (this.#asked += 1);
    const before = new Map(this.#known);
    try {
      let page = await this.#page("", asked);
      for (let pages = 1; page && pages < PAGES_AT_MOST && this.#reaches(page); pages += 1)
        page = await this.#page(page.cursor, asked);
    } catch (error) {
      if (asked === this.#asked) this.failed(error);
      return;
    }
    if (asked !== this.#asked) return;
    // A job that was known and is not in the list any more, within the time that was read, is gone.
    const oldest = this.#cursor ? (this.jobs.at(-1)?.created_at ?? "") : "";
    for (const [id, job] of before)
      if (this.#known.get(id) === job && job.created_at >= oldest) this.#known.delete(id);
    this.changed();
  }

  #reaches({ jobs: read, cursor }) {
    return cursor && this.#wanted.since && Date.parse(read.at(-1)?.created_at ?? 0) > this.#wanted.since;
  }

  async #page(cursor, asked) {
    const { status, batch } = this.#wanted;
    const page = await jobs({ status, batch, cursor: cursor ?? "", limit: PAGE });
    if (asked !== this.#asked) return null;
    for (const job of page.jobs) this.#known.set(job.id, job);
    this.#cursor = page.cursor;
    this.changed();
    return page;
  }

  #take({ kind, job }) {
    if (!job) return;
    const known = this.#known.get(job.id);
    const { status } = this.#wanted;
    if (kind === "job.deleted" || (status && job.status !== status)) this.#known.delete(job.id);
    // An event has neither a place in the queue nor large metadata.
    else this.#known.set(job.id, { ...job, metadata: { ...known?.metadata, ...job.metadata } });
    this.changed();
  }

  async #lookAtQueued() {
    if (document.hidden || !this.jobs.some(({ status, batch }) => status === "queued" || (batch && status === "running"))) return;
    const asked = this.#asked;
    const { status, batch } = this.#wanted;
    const page = await jobs({ status, batch, limit: PAGE }).catch(() => null);
    if (!page || asked !== this.#asked) return;
    for (const job of page.jobs) this.#known.set(job.id, job);
    this.changed();
  }
}
