/** The form that submits a prompt, and shows the error of each field beside it. */

import { client, models, remember } from "./connection.js";
import { byId, element, setText } from "./dom.js";
import { t } from "./words.js";

const TITLE_LENGTH = 200;
const DRAFT = "spool.draft";

export class Composer {
  #backends = new Map();
  #continues = "";

  /** Calls `submitted(job)` with each job, and `refused(error)` with each refusal. */
  constructor({ submitted, refused }) {
    this.form = byId("composer");
    this.submitted = submitted;
    this.refused = refused;
    byId("prompt").value =
      sessionStorage.getItem(DRAFT) ?? t("Why should a dropped connection never cost me an answer?");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
    });
    byId("prompt").addEventListener("input", () => sessionStorage.setItem(DRAFT, byId("prompt").value));
    byId("model").addEventListener("change", () => this.#showParams());
    byId("continues-not").addEventListener("click", () => this.reply(""));
    for (const chip of byId("tries").querySelectorAll("[data-params]")) {
      chip.addEventListener("click", () => {
        this.#fillParams(JSON.parse(chip.dataset.params));
        this.form.requestSubmit();
      });
    }
  }

  /** Loads the models; resolves to their list. Throws the server's refusal. */
  async load() {
    const { models: known, default: chosen } = await models();
    const before = byId("model").value;
    this.#backends = new Map(known.map((model) => [model.id ?? model.name, model.backend]));
    const selected = this.#backends.has(before) ? before : chosen;
    byId("model").replaceChildren(
      ...[...this.#backends.keys()].map((name) =>
        element("option", { value: name, selected: name === selected }, name),
      ),
    );
    this.#showParams();
    return known;
  }

  /** The next prompt continues the conversation of this job; "" starts a new one. */
  reply(jobId) {
    this.#continues = jobId;
    byId("continues").hidden = !jobId;
    setText(byId("continues-job"), jobId);
    if (!jobId) return;
    byId("prompt").value = "";
    byId("prompt").focus();
    byId("composer").scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  /** Submits an earlier submission again. */
  again({ prompt, model, params = {}, continue_from: continues = "" }) {
    byId("prompt").value = prompt;
    if (this.#backends.has(model)) byId("model").value = model;
    this.reply(continues);
    byId("prompt").value = prompt;
    this.#showParams();
    this.#fillParams(params);
    this.form.requestSubmit();
  }

  async send() {
    if (byId("send").disabled) return;
    this.#clearErrors();
    byId("send").disabled = true;
    const submission = this.#submission();
    try {
      const job = await client().submit(submission, { onRetry: (error) => this.#waiting(error) });
      this.#clearErrors();
      remember(job.id, submission);
      this.submitted(job);
      if (this.#continues) this.reply("");
    } catch (error) {
      setText(byId("error-form"), "");
      this.#show(error);
      this.refused(error);
    } finally {
      byId("send").disabled = false;
    }
  }

  #waiting({ message }) {
    const reason = message.replace(/\.$/, "");
    setText(byId("error-form"), t("{reason}. The prompt is sent again for up to a minute, and becomes one job.", { reason }));
  }

  #isDemo() {
    return this.#backends.get(byId("model").value) === "demo";
  }

  #showParams() {
    byId("demo-params").hidden = !this.#isDemo();
    byId("tries").hidden = !this.#isDemo();
  }

  #fillParams(params) {
    for (const input of this.form.querySelectorAll("[data-param]")) input.value = params[input.dataset.param] ?? "";
  }

  #submission() {
    const prompt = byId("prompt").value;
    const title = prompt.trim().slice(0, TITLE_LENGTH);
    const submission = {
      prompt,
      params: this.#isDemo() ? this.#params() : {},
      metadata: title ? { prompt: title } : {},
    };
    if (byId("model").value) submission.model = byId("model").value;
    if (this.#continues) submission.continue_from = this.#continues;
    return submission;
  }

  /** The typed values, as numbers if they are numbers. The server names invalid ones. */
  #params() {
    const typed = [...this.form.querySelectorAll("[data-param]")].filter((input) => input.value.trim());
    return Object.fromEntries(
      typed.map(({ dataset, value }) => [dataset.param, Number.isNaN(Number(value)) ? value : Number(value)]),
    );
  }

  #clearErrors() {
    for (const place of this.form.querySelectorAll("[data-error]")) setText(place, "");
    for (const input of this.form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  }

  #show(error) {
    const errors = error.problem?.errors?.length ? error.problem.errors : [{ field: "", detail: error.message }];
    for (const { field, detail } of errors) {
      const place = this.form.querySelector(`[data-error="${CSS.escape(field)}"]`);
      const input = place?.id && this.form.querySelector(`[aria-describedby="${place.id}"]`);
      if (input) this.#blame(input, place, detail);
      else setText(byId("error-form"), field && field !== "body" ? `${field}: ${detail}` : detail);
    }
    this.form.querySelector("[aria-invalid]")?.focus();
  }

  #blame(input, place, detail) {
    input.setAttribute("aria-invalid", "true");
    const label = input.labels[0]?.textContent.trim();
    setText(place, `${label}: ${detail}`);
  }
}
