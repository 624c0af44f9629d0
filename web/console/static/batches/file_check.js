/** Checks the beginning of a file before the upload. */

import { t } from "../words.js";

const LOOKED_AT = 256 * 1024;
const LINES_MOST = 200;

/** Returns `{ type }`, the media type of the file. Throws an error that names the first invalid line. */
export async function checkBeginning(file) {
  const text = await file.slice(0, LOOKED_AT).text();
  if (!text.trim()) throw new Error(t("The file is empty."));
  if (text.trimStart().startsWith("[")) return { type: "application/json" };
  const lines = text.split("\n");
  // The last line may continue beyond the part that was read.
  if (file.size > LOOKED_AT) lines.pop();
  lines.slice(0, LINES_MOST).forEach(checkLine);
  return { type: "application/x-ndjson" };
}

function checkLine(line, index) {
  if (!line.trim()) return;
  const n = index + 1;
  const refuse = (why) => {
    throw new Error(why);
  };
  let job;
  try {
    job = JSON.parse(line);
  } catch {
    refuse(t("Line {n} is not JSON.", { n }));
  }
  if (job === null || typeof job !== "object" || Array.isArray(job))
    refuse(t("Line {n} is not a JSON object.", { n }));
  if (job.body && job.url)
    refuse(t("Line {n} has the form of OpenAI's batches. Send this file to /v1/files and /v1/batches.", { n }));
}
