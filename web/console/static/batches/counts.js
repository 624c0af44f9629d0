/** A batch's state and counts, as chip, bar and figures. */

import { element, setText } from "../dom.js";
import { statusName } from "../job/states.js";
import { drawParts } from "../job/charts.js";
import { counted, t } from "../words.js";

const ENDS = ["succeeded", "failed", "expired", "cancelled"];
const ORDER = [...ENDS, "running", "queued"];
const STATES = {
  in_progress: ["running", () => t("in progress")],
  finalizing: ["running", () => t("in progress")],
  paused: ["queued", () => t("paused")],
  cancelling: ["queued", () => t("cancelling")],
  cancelled: ["cancelled", () => t("cancelled")],
  completed: ["succeeded", () => t("completed")],
  failed: ["failed", () => t("failed")],
  expired: ["failed", () => t("expired")],
};

/** How many lines have ended. */
export const endedOf = ({ counts }) => ENDS.reduce((sum, status) => sum + (counts[status] ?? 0), 0);

/** How many lines have ended without success. */
export const unsuccessful = (batch) => endedOf(batch) - (batch.counts.succeeded ?? 0);

export function drawState(chip, { state, paused, ended }) {
  const [status, name] = STATES[paused && !ended && state === "in_progress" ? "paused" : state] ?? ["", () => state];
  chip.dataset.status = status;
  setText(chip, name());
}

/** Draws the bar. Returns the parts: `[{ name, count, status }]`. */
export function drawBar(box, { counts, total }) {
  const parts = ORDER.map((status) => ({ name: nameOf(status), count: counts[status] ?? 0, status }));
  drawParts(box, parts, total);
  return parts;
}

/** Draws the figures under the bar. */
export function drawCounts(list, parts) {
  const shown = parts.filter(({ status, count }) => status !== "expired" || count);
  list.replaceChildren(
    ...shown.map(({ name, count, status }) =>
      element(
        "div",
        {},
        element("dt", { className: "chip-status", "data-status": status }, name),
        element("dd", {}, counted(count)),
      ),
    ),
  );
}

const nameOf = (status) => (status === "expired" ? t("expired") : statusName(status));
