/** The page of a handed-over answer: read-only, at the place where the other device was. */

import { MarkdownView } from "../client/markdown.js";
import { Client } from "../client/src/index.js";
import { byId, setText } from "../dom.js";
import { keepEndInSight } from "../job/sight.js";
import { connectionName, statusName } from "../job/states.js";
import { whyNoText } from "../job/wait_text.js";
import createPurifier from "../vendor/dompurify.js";
import { Marked } from "../vendor/marked.js";
import { language, t, translate } from "../words.js";
import { readHash } from "./handed_over.js";

/** The share of the window above the place. */
const ABOVE = 0.3;

class Reader {
  #isAtPlace = false;

  constructor({ job, token, place }) {
    this.place = place;
    this.markdown = new MarkdownView(byId("answer"), { Marked, DOMPurify: createPurifier });
    // A reader who scrolls has chosen a place.
    for (const event of ["wheel", "touchmove", "keydown"])
      addEventListener(event, () => (this.#isAtPlace = true), { once: true, passive: true });
    new Client({ token }).follow(job, { onChange: (view) => this.#draw(view) });
  }

  #draw(view) {
    const isKnown = view.connection !== "refused";
    byId("status").hidden = !isKnown;
    byId("status").dataset.status = view.status;
    setText(byId("status"), statusName(view.status));
    byId("connection").dataset.connection = view.connection;
    setText(byId("connection"), connectionName(view.connection));
    const prompt = view.job?.metadata?.prompt ?? "";
    setText(byId("prompt"), prompt);
    byId("prompt").hidden = !prompt;
    byId("reasoning-box").hidden = !view.reasoning;
    setText(byId("reasoning"), view.reasoning);
    setText(byId("placeholder"), view.text ? "" : whyNoText(view));
    setText(byId("failure"), this.#failure(view));
    byId("failure").hidden = !byId("failure").textContent;
    const state = isKnown ? statusName(view.status) : t("refused");
    document.title = `${state}: ${prompt.slice(0, 60) || t("Answer")} · Spool`;
    keepEndInSight(byId("reader"), () => this.#drawText(view));
    if (!this.#isAtPlace && view.text.length >= this.place) this.#goToPlace();
  }

  #drawText({ text, isEnded }) {
    byId("answer").classList.toggle("streaming", !isEnded && text.length > 0);
    const label = { offset: Math.min(this.place, text.trimEnd().length - 1), label: t("You were here.") };
    this.markdown.show(text, isEnded, this.place ? [label] : []);
  }

  #goToPlace() {
    this.#isAtPlace = true;
    if (this.place) scrollBy(0, this.markdown.heightOf(this.place) - ABOVE * innerHeight);
  }

  #failure({ connection, error, status }) {
    if (connection === "refused")
      return error?.status === 401
        ? t("This link has ended. Show a new code on the other device.")
        : (error?.message ?? "");
    if (status === "failed" && error) return `${error.message} (${error.code})`;
    return status === "cancelled" ? t("Cancelled. The text generated so far is kept.") : "";
  }
}

document.documentElement.lang = language;
translate(document);
addEventListener("hashchange", () => location.reload());
const handedOver = readHash(location.hash);
if (handedOver) new Reader(handedOver);
else setText(byId("placeholder"), t("This link is incomplete. Scan the code again."));
