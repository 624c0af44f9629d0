/** The files of this browser's batches: their names and blank lines. The server does not know them. */

import { BATCHES } from "../connection.js";
import { counted, t } from "../words.js";
import { lineOf } from "./file_lines.js";

const KEPT = 50;

/** The name of a batch's file, or its id. */
export const nameOf = (id) => recall().find((batch) => batch.id === id)?.name || id;

/** The label of the batch's job with this index: its line in the file, where that is known. */
export function labelOf(id, index) {
  const blanks = recall().find((batch) => batch.id === id)?.blanks;
  return blanks ? t("line {n}", { n: counted(lineOf(index, blanks)) }) : t("job {n}", { n: counted(index + 1) });
}

/** `blanks`: the file's blank lines; null if they are unknown. */
export function keepFile(id, name, blanks) {
  const others = recall().filter((batch) => batch.id !== id);
  try {
    localStorage.setItem(BATCHES, JSON.stringify([{ id, name, blanks }, ...others].slice(0, KEPT)));
  } catch {
    // The storage is full: the batch has its id.
  }
}

function recall() {
  try {
    return JSON.parse(localStorage.getItem(BATCHES)) ?? [];
  } catch {
    return [];
  }
}
