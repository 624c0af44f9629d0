/** Scrolling along with a growing answer. */

const NEAR_END_PX = 24;

/** Draws, then scrolls along if the end of the answer was visible before. A reader further up stays there. */
export function keepEndInSight(root, draw) {
  const before = root.getBoundingClientRect().bottom;
  draw();
  const after = root.getBoundingClientRect().bottom;
  if (before > 0 && before <= innerHeight && after > innerHeight) scrollBy(0, after - innerHeight + NEAR_END_PX);
}
