/** The console: its pages and the key that it asks for. */

import { read } from "./address.js";
import { forget, loadSession, logIn, logOut, session } from "./connection.js";
import { byId, element, setText } from "./dom.js";
import { BatchesPage } from "./pages/batches.js";
import { JobsPage } from "./pages/jobs.js";
import { KeysPage } from "./pages/keys.js";
import { Playground } from "./pages/playground.js";
import { SystemPage } from "./pages/system.js";
import { UsagePage } from "./pages/usage.js";
import { choose, language, LANGUAGES, translate } from "./words.js";

document.documentElement.lang = language;
translate(document);

const playground = new Playground({ refused });
const pages = {
  "": playground,
  jobs: new JobsPage({ refused }),
  batches: new BatchesPage({ refused }),
  system: new SystemPage({ refused }),
  usage: new UsagePage({ refused }),
  keys: new KeysPage({ refused }),
};
let current = null;

byId("language").append(
  ...Object.entries(LANGUAGES).map(([name, label]) =>
    element("option", { value: name, selected: name === language, lang: name }, label),
  ),
);
byId("language").addEventListener("change", () => {
  choose(byId("language").value);
  location.reload();
});
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
byId("key-form").addEventListener("submit", useKey);
byId("log-out").addEventListener("click", async () => {
  await logOut();
  forget();
  location.reload();
});
addEventListener("hashchange", route);
begin();

async function begin() {
  try {
    await loadSession();
    byId("log-out").hidden = session().kind !== "session";
    byId("keys-link").hidden = !session().scopes.includes("admin");
    byId("log-out").title = session().owner ?? "";
    if (session().required && !session().owner) return askForKey("");
    await playground.load();
  } catch (error) {
    if (error.status === 401) return askForKey("");
    setText(byId("error-form"), error.message);
  }
  route();
}

function route() {
  const address = read();
  if (current !== null && current !== address.page) pages[current].leave();
  current = address.page;
  for (const name of Object.keys(pages)) byId(`page-${name || "playground"}`).hidden = name !== current;
  for (const link of byId("pages").querySelectorAll("[data-page]")) {
    if (link.dataset.page === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  pages[current].show(address);
}

/** After a 401, asks for a key. The views show other refusals. */
function refused(error) {
  if (error.status === 401) askForKey(error.message);
}

function askForKey(why) {
  byId("key-form").hidden = false;
  setText(byId("key-error"), why);
  byId("key").focus();
}

async function useKey(event) {
  event.preventDefault();
  try {
    await logIn(byId("key").value);
  } catch (error) {
    return askForKey(error.message);
  }
  byId("key").value = "";
  byId("key-form").hidden = true;
  if (current !== null) pages[current].leave();
  current = null;
  begin();
}
