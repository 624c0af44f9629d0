/** The form that submits a prompt, and shows the error of each field beside it. */

import { models, submit } from "./api.js";
import { byId, element, setText } from "./dom.js";

const TITLE_LENGTH = 200;

export class Composer {
  #backends = new Map();

  /** Calls `submitted(job)` with each job, and `refused(problem)` with each problem. */
  constructor({ submitted, refused }) {
    this.form = byId("composer");
    this.submitted = submitted;
    this.refused = refused;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
    });
    byId("model").addEventListener("change", () => this.#showParams());
    for (const chip of byId("tries").querySelectorAll("[data-params]")) {
      chip.addEventListener("click", () => this.#fill(JSON.parse(chip.dataset.params)));
    }
  }

  /** Loads the models. Throws `ApiProblem`. */
  async load() {
    const { models: known, default: chosen } = await models();
    this.#backends = new Map(known.map((model) => [model.id ?? model.name, model.backend]));
    byId("model").replaceChildren(
      ...[...this.#backends.keys()].map((name) => element("option", { value: name, selected: name === chosen }, name)),
    );
    this.#showParams();
  }

  async send() {
    if (byId("send").disabled) return;
    this.#clearErrors();
    byId("send").disabled = true;
    try {
      this.submitted(await submit(this.#submission()));
    } catch (problem) {
      this.#show(problem);
      this.refused(problem);
    } finally {
      byId("send").disabled = false;
    }
  }

  #isDemo() {
    return this.#backends.get(byId("model").value) === "demo";
  }

  #showParams() {
    byId("demo-params").hidden = !this.#isDemo();
    byId("tries").hidden = !this.#isDemo();
  }

  #fill(params) {
    for (const input of this.form.querySelectorAll("[data-param]")) input.value = params[input.dataset.param] ?? "";
    this.form.requestSubmit();
  }

  #submission() {
    const prompt = byId("prompt").value;
    const title = prompt.trim().slice(0, TITLE_LENGTH);
    const submission = { prompt, params: this.#isDemo() ? this.#params() : {}, metadata: title ? { prompt: title } : {} };
    if (byId("model").value) submission.model = byId("model").value;
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

  #show(problem) {
    const errors = problem.errors?.length ? problem.errors : [{ field: "", detail: problem.message }];
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
