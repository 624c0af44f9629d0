/** A QR code that opens the answer on another device, at the reader's place. */

import { readingToken } from "../connection.js";
import { announce, byId, copyText, drawing, setText } from "../dom.js";
import { moment, t } from "../words.js";
import { hashOf } from "./handed_over.js";
import { qrCode } from "./qr_code.js";

const LIFE_S = 3600;
/** The light margin that decoders need, in modules (ISO/IEC 18004, section 6.3.8). */
const QUIET = 4;
const WIDTH_PX = 380;
const LOOPBACK = /^(?:localhost|.*\.localhost|127(?:\.\d+){3}|\[::1\])$/;

export class HandOver {
  constructor() {
    this.dialog = byId("phone");
    byId("phone-done").addEventListener("click", () => this.dialog.close());
    byId("phone-copy").addEventListener("click", async () => {
      announce((await copyText(byId("phone-link").textContent)) ? t("Copied.") : t("The browser refused to copy."));
    });
    // The link is a secret: it stays in the page only while it is shown.
    this.dialog.addEventListener("close", () => {
      byId("phone-code").replaceChildren();
      setText(byId("phone-link"), "");
    });
  }

  /** Show the code of a job's answer. `place`: the offset in its text. Throws the server's refusal. */
  async show(job, place) {
    const { token, expires_at } = await readingToken(job, LIFE_S);
    const link = `${location.origin}/read${hashOf({ job, place, token })}`;
    draw(byId("phone-code"), qrCode(link));
    setText(byId("phone-link"), link);
    setText(
      byId("phone-help"),
      t("Anyone with this link can read the answer until {time}. The link allows nothing else.", {
        time: moment(expires_at),
      }),
    );
    const isLocal = LOOPBACK.test(location.hostname);
    byId("phone-warning").hidden = !isLocal;
    if (isLocal)
      setText(
        byId("phone-warning"),
        t("{host} leads to this machine only. Open the console at an address that the phone can reach.", {
          host: location.host,
        }),
      );
    this.dialog.showModal();
  }
}

function draw(svg, rows) {
  const size = rows.length + 2 * QUIET;
  const dark = rows.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : "")));
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  // Modules of whole pixels: decoders fail on uneven ones.
  svg.setAttribute("width", size * Math.max(1, Math.floor(WIDTH_PX / size)));
  svg.replaceChildren(drawing("path", { d: dark.join("") }));
}
