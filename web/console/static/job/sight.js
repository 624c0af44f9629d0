/** Where a growing answer stands in the window. */

const NEAR_END_PX = 24;

/** Scrolls along with an answer whose end is in sight. A reader further up stays there. */
export function keepEndInSight(root, draw) {
  const before = root.getBoundingClientRect().bottom;
  draw();
  const after = root.getBoundingClientRect().bottom;
  if (before > 0 && before <= innerHeight && after > innerHeight) scrollBy(0, after - innerHeight + NEAR_END_PX);
}
