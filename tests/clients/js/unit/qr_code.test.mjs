/** QR codes, read by a decoder that is not ours: jsQR. */

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

import { qrCode } from "../../../../web/console/static/phone/qr_code.js";

const BYTES_OF_VERSION = { 1: 17, 2: 32, 6: 134, 7: 154, 9: 230, 10: 271, 14: 458, 21: 929 };
const [MODULE_PX, QUIET] = [3, 4];

function decoder() {
  try {
    return createRequire(import.meta.url)("jsqr");
  } catch {
    return null;
  }
}

/** The code as pixels, with the quiet zone that readers need. */
function drawn(rows) {
  const width = (rows.length + 2 * QUIET) * MODULE_PX;
  const pixels = new Uint8ClampedArray(4 * width * width).fill(255);
  for (let y = 0; y < width; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const isDark = rows[Math.floor(y / MODULE_PX) - QUIET]?.[Math.floor(x / MODULE_PX) - QUIET];
      if (isDark) pixels.fill(0, 4 * (y * width + x), 4 * (y * width + x) + 3);
    }
  }
  return [pixels, width, width];
}

const letters = (count) => Array.from({ length: count }, (_, at) => String.fromCharCode(33 + ((at * 7) % 90))).join("");

for (const [version, bytes] of Object.entries(BYTES_OF_VERSION)) {
  test(`a full code of version ${version}`, (context) => {
    const jsQR = decoder();
    if (!jsQR) return context.skip("jsqr is not installed: make install-clients");
    const text = letters(bytes);
    const rows = qrCode(text);
    assert.equal(rows.length, 4 * Number(version) + 17);
    assert.equal(jsQR(...drawn(rows))?.data, text);
  });
}

test("one byte more needs the next version", () => {
  assert.equal(qrCode(letters(17)).length, 21);
  assert.equal(qrCode(letters(18)).length, 25);
});

test("text beyond ASCII", (context) => {
  const jsQR = decoder();
  if (!jsQR) return context.skip("jsqr is not installed: make install-clients");
  assert.equal(jsQR(...drawn(qrCode("读 ✓ é")))?.data, "读 ✓ é");
});

test("more than the largest code holds", () => {
  assert.throws(() => qrCode(letters(2954)), RangeError);
});
