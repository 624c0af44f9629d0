/** The page: its parts and its events. */

import { read, hashOf } from "./address.js";
import { storedKey, storeKey } from "./api.js";
import { Composer } from "./composer.js";
import { byId, setText } from "./dom.js";
import { showJobs } from "./job_list.js";
import { buildTransports, copyCurl, showHint, usable } from "./reader_view.js";
import { Session } from "./session.js";

let session = null;
let transport = usable(read().transport);
const composer = new Composer({ submitted, refused });

byId("cut").addEventListener("click", () => session?.follower.cut());
byId("cancel").addEventListener("click", cancel);
byId("copy-curl").addEventListener("click", copyCurl);
byId("key-form").addEventListener("submit", useKey);
addEventListener("hashchange", openAddressed);
addEventListener("online", () => session?.follower.hurry());
// From the back/forward cache: the connection is closed, though the page does not know it.
addEventListener("pageshow", (event) => event.persisted && session?.follower.cut());
begin();

async function begin() {
  buildTransports(transport, choose);
  try {
    await Promise.all([composer.load(), showJobs(read().job)]);
  } catch (problem) {
    refused(problem);
    if (problem.status === 401) return;
    setText(byId("error-form"), problem.message);
  }
  openAddressed();
}

function openAddressed() {
  const addressed = read();
  if (!addressed.job || addressed.job === session?.state.jobId) return;
  if (addressed.transport) transport = usable(addressed.transport);
  buildTransports(transport, choose);
  session?.close();
  setText(byId("action-error"), "");
  session = new Session(addressed.job, transport, { changed: refreshJobs, refused });
  session.start();
  refreshJobs();
}

function submitted(job) {
  location.hash = hashOf(job.id, transport);
  byId("job").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function choose(name) {
  transport = name;
  showHint(transport);
  if (!session) return;
  history.replaceState(null, "", hashOf(session.state.jobId, transport));
  session.follower.switchTo(transport);
}

async function cancel() {
  setText(byId("action-error"), "");
  try {
    await session.cancel();
  } catch (problem) {
    setText(byId("action-error"), problem.message);
    refused(problem);
  }
}

function refreshJobs() {
  showJobs(session?.state.jobId).catch(refused);
}

/** Asks for a key if it is missing or wrong. Reports a missing job. */
function refused(problem) {
  if (problem.status === 401) {
    byId("key-form").hidden = false;
    setText(byId("key-error"), storedKey() ? problem.message : "");
    byId("key").focus();
  } else if ([400, 403, 404, 410].includes(problem.status) && session) {
    setText(byId("action-error"), problem.message);
  }
}

function useKey(event) {
  event.preventDefault();
  storeKey(byId("key").value);
  byId("key-form").hidden = true;
  transport = usable(transport);
  session?.close();
  session = null;
  begin();
}
