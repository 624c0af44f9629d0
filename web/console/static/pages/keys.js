/** API keys, for administrators: listed, created with scopes, limits and an end, shown once, and revoked. */

import { createKey, keys, revokeKey } from "../connection.js";
import { announce, byId, copyText, element, setText } from "../dom.js";
import { counted, moment, t } from "../words.js";

const SCOPES = ["jobs:read", "jobs:write", "batches", "models:read", "operations:read", "admin"];
const LIMIT_NAMES = {
  requests_per_minute: () => t("Requests per minute"),
  streams: () => t("Open streams"),
  tokens_per_day: () => t("Tokens per day"),
  tokens_per_month: () => t("Tokens per month"),
};

export class KeysPage {
  #known = [];
  #shown = 0;
  #revoking = null;

  constructor({ refused }) {
    this.refused = refused;
    byId("key-scopes").append(...SCOPES.map(scopeBox));
    byId("key-limits").append(...Object.entries(LIMIT_NAMES).map(([name, label]) => limitField(name, label())));
    byId("new-key").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#create();
    });
    byId("created-copy").addEventListener("click", async () => {
      const worked = await copyText(byId("created-key").textContent);
      announce(worked ? t("Copied.") : t("The browser refused to copy."));
    });
    byId("created-done").addEventListener("click", () => this.#forgetCreated());
    byId("keys-owner").addEventListener("input", () => this.#draw());
    byId("keys-ended").addEventListener("change", () => this.#draw());
    byId("revoke-yes").addEventListener("click", () => this.#revoke());
    byId("revoke-no").addEventListener("click", () => byId("revoke").close());
  }

  show() {
    document.title = `${t("Keys")} · Spool`;
    this.#load();
  }

  leave() {
    this.#shown += 1;
    this.#forgetCreated();
    byId("revoke").close();
  }

  async #load() {
    const shown = (this.#shown += 1);
    try {
      const list = await keys();
      if (shown !== this.#shown) return;
      this.#known = list.keys.reverse();
      setText(byId("keys-error"), "");
      this.#draw();
    } catch (error) {
      if (shown !== this.#shown) return;
      setText(byId("keys-error"), error.message);
      this.refused(error);
    }
  }

  async #create() {
    this.#clearErrors();
    byId("create-key").disabled = true;
    try {
      const { key, ...made } = await createKey(draft());
      setText(byId("created-key"), key);
      byId("created").hidden = false;
      byId("created").focus();
      byId("new-key").reset();
      this.#known = [made, ...this.#known];
      this.#draw();
    } catch (error) {
      this.#showErrors(error);
      this.refused(error);
    } finally {
      byId("create-key").disabled = false;
    }
  }

  #forgetCreated() {
    byId("created").hidden = true;
    setText(byId("created-key"), "");
  }

  #clearErrors() {
    setText(byId("new-key-error"), "");
    for (const input of byId("new-key").querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  }

  #showErrors(error) {
    const errors = error.problem?.errors?.length ? error.problem.errors : [{ field: "", detail: error.message }];
    for (const { field } of errors) {
      const input = byId("new-key").querySelector(`[name="${CSS.escape(field)}"]`);
      input?.setAttribute("aria-invalid", "true");
    }
    const said = errors.map(({ field, detail }) => (field && field !== "body" ? `${field}: ${detail}` : detail));
    setText(byId("new-key-error"), said.join("; "));
    byId("new-key").querySelector("[aria-invalid]")?.focus();
  }

  #draw() {
    const owner = byId("keys-owner").value.trim().toLowerCase();
    const withEnded = byId("keys-ended").checked;
    const shown = this.#known.filter(
      (key) => (withEnded || key.valid) && (!owner || `${key.owner} ${key.name}`.toLowerCase().includes(owner)),
    );
    byId("key-rows").replaceChildren(...shown.map((key) => this.#row(key)));
    const hidden = this.#known.length - shown.length;
    setText(byId("keys-note"), noteOf(this.#known.length, hidden));
  }

  #row(key) {
    const button = element("button", { type: "button", className: "small-button" }, t("Revoke"));
    button.setAttribute("aria-label", t("Revoke the key {name}", { name: key.name || key.prefix }));
    button.addEventListener("click", () => this.#ask(key));
    return element(
      "tr",
      { "data-key": key.id },
      element("td", {}, element("strong", {}, key.name || "–"), element("code", { className: "under" }, `${key.prefix}…`)),
      element("td", {}, key.owner),
      element("td", {}, chipOf(key)),
      element("td", { className: "cell-scopes" }, scopesOf(key)),
      element("td", {}, limitsOf(key)),
      element("td", {}, timeOf(key.last_used_at, t("never"))),
      element("td", {}, timeOf(key.expires_at, t("never"))),
      element("td", {}, key.valid ? button : ""),
    );
  }

  #ask(key) {
    this.#revoking = key;
    setText(
      byId("revoke-text"),
      t("Requests with {name} of {owner} are refused within 5 seconds, and its open streams end. A revoked key cannot be restored.", {
        name: key.name || key.prefix,
        owner: key.owner,
      }),
    );
    byId("revoke").showModal();
  }

  async #revoke() {
    byId("revoke").close();
    try {
      const revoked = await revokeKey(this.#revoking.id);
      this.#known = this.#known.map((key) => (key.id === revoked.id ? revoked : key));
      announce(t("The key is revoked."));
      this.#draw();
    } catch (error) {
      setText(byId("keys-error"), error.message);
      this.refused(error);
    }
  }
}

/** The values of the form, without empty fields. */
function draft() {
  const value = (id) => byId(id).value.trim();
  const chosen = [...byId("key-scopes").querySelectorAll("input:checked")].map((box) => box.value);
  const limits = [...byId("key-limits").querySelectorAll("input")].filter((input) => input.value.trim());
  const models = value("key-models").split(",").map((name) => name.trim()).filter(Boolean);
  return {
    owner: value("key-owner"),
    name: value("key-name"),
    scopes: chosen,
    models: models.length ? models : null,
    expires_in_s: value("key-expires") ? Number(value("key-expires")) : null,
    limits: Object.fromEntries(limits.map((input) => [input.dataset.limit, asNumber(input.value)])),
  };
}

const asNumber = (text) => (Number.isNaN(Number(text)) ? text : Number(text));

function scopeBox(name) {
  const box = element("input", { type: "checkbox", name: "scopes", value: name, checked: name !== "admin" });
  // Resetting the form restores its default.
  box.defaultChecked = name !== "admin";
  return element("label", { className: "box" }, box, element("code", {}, name));
}

const limitField = (name, label) =>
  element(
    "div",
    { className: "field" },
    element("label", { htmlFor: `limit-${name}` }, label),
    element("input", { id: `limit-${name}`, "data-limit": name, inputMode: "numeric", placeholder: t("no limit"), name: "limits" }),
  );

function chipOf(key) {
  const [status, text] = key.revoked_at
    ? ["failed", t("revoked")]
    : key.valid
      ? ["succeeded", t("valid")]
      : ["cancelled", t("expired")];
  return element("span", { className: "chip-status", "data-status": status }, text);
}

function scopesOf({ scopes, models }) {
  const all = SCOPES.filter((name) => name !== "admin");
  const isDefault = all.every((name) => scopes.includes(name));
  const named = isDefault ? [t("all"), ...(scopes.includes("admin") ? ["admin"] : [])] : scopes;
  return `${named.join(", ")}${models ? ` · ${models.join(", ")}` : ""}`;
}

function limitsOf({ limits }) {
  const set = Object.entries(limits).map(([name, value]) => `${LIMIT_NAMES[name]?.() ?? name}: ${counted(value)}`);
  return set.length ? element("ul", { className: "plain" }, ...set.map((text) => element("li", {}, text))) : "–";
}

const timeOf = (at, otherwise) => (at ? element("time", { dateTime: at }, moment(at)) : otherwise);

function noteOf(all, hidden) {
  if (!all) return t("No keys yet. Keys in SPOOL_API_KEYS are not listed.");
  return hidden ? t("{n} of {m} keys are not shown.", { n: hidden, m: all }) : "";
}
