/** The names of files that this browser made batches of. The server does not know them. */

import { BATCHES } from "../connection.js";

const KEPT = 50;

/** The name of a batch's file, or its id. */
export const nameOf = (id) => recall().find((batch) => batch.id === id)?.name || id;

export function keepName(id, name) {
  const others = recall().filter((batch) => batch.id !== id);
  try {
    localStorage.setItem(BATCHES, JSON.stringify([{ id, name }, ...others].slice(0, KEPT)));
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
