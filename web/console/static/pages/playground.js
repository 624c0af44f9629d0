/** The playground: the composer, the open job, and the latest jobs. */

import { hashOfJob } from "../address.js";
import { Composer } from "../composer.js";
import { jobs } from "../connection.js";
import { announce, byId, copyText, element, setText } from "../dom.js";
import { JobCard } from "../job/card.js";
import { statusName } from "../job/states.js";
import { HandOver } from "../phone/hand_over.js";
import { moment, t } from "../words.js";

const RECENT = 10;

export class Playground {
  #card = null;
  #handOver = new HandOver();

  constructor({ refused }) {
    this.refused = refused;
    this.composer = new Composer({ submitted: (job) => this.#submitted(job), refused });
    byId("second").addEventListener("click", () => this.#card.addReader());
    for (const button of byId("kills").querySelectorAll("[data-kill]")) {
      button.addEventListener("click", () => this.#do(() => this.#card.kill(button.dataset.kill)));
    }
    byId("again").addEventListener("click", () => this.#card.again());
    byId("reply").addEventListener("click", () => this.composer.reply(this.#card.id));
    byId("copy-text").addEventListener("click", () => this.#card.copyAnswer());
    byId("copy-curl").addEventListener("click", async () => {
      if (await copyText(this.#card.curl)) announce(t("Copied."));
    });
  }

  /** Throws the server's refusal. */
  async load() {
    await Promise.all([this.composer.load(), this.#showRecent()]);
  }

  /** Show the job in the address; without one, only the composer. */
  show({ id, query }) {
    if (id === this.#card?.id) return;
    this.#close();
    byId("welcome").hidden = Boolean(id);
    if (!id) {
      document.title = "Spool";
      return;
    }
    this.#card = new JobCard(id, [query.get("via") ?? "auto", query.get("and") ?? ""], {
      changed: (view) => this.#changed(view),
      addressed: (via, and) => history.replaceState(null, "", hashOfJob(id, via, and)),
      refused: this.refused,
      again: (submission) => this.composer.again(submission),
      cancel: () => this.#do(() => this.#card.cancel()),
      handOver: (place) => this.#do(() => this.#handOver.show(id, place)),
    });
    this.#showRecent().catch(this.refused);
  }

  leave() {
    this.#close();
  }

  #close() {
    this.#card?.close();
    this.#card = null;
    for (const name of ["job", "figures"]) byId(name).hidden = true;
  }

  #submitted(job) {
    location.hash = hashOfJob(job.id, this.#card?.panes[0]?.choice);
    requestAnimationFrame(() => byId("job").scrollIntoView({ block: "start", behavior: "smooth" }));
  }

  #changed(view) {
    const title = view.job?.metadata?.prompt ?? this.#card?.id ?? "";
    document.title = `${statusName(view.status)}: ${title.slice(0, 60)} · Spool`;
    this.#showRecent().catch(this.refused);
  }

  async #do(act) {
    setText(byId("action-error"), "");
    try {
      await act();
    } catch (error) {
      setText(byId("action-error"), error.message);
      // The bar is in sight where the end of a long answer is not.
      byId("action-error").scrollIntoView({ block: "nearest" });
      this.refused(error);
    }
  }

  async #showRecent() {
    const { jobs: latest } = await jobs({ limit: RECENT });
    byId("recent").replaceChildren(...latest.map((job) => element("li", {}, this.#link(job))));
    byId("recent-empty").hidden = latest.length > 0;
  }

  #link(job) {
    const made = element(
      "a",
      { href: hashOfJob(job.id), title: job.id },
      element("span", { className: "chip-status small", "data-status": job.status }, statusName(job.status)),
      element("span", { className: "job-title", dir: "auto" }, job.metadata?.prompt || job.id),
      element("time", { dateTime: job.created_at }, moment(job.created_at)),
    );
    if (job.id === this.#card?.id) made.setAttribute("aria-current", "true");
    return made;
  }
}
