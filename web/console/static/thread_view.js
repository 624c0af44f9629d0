/** The entries of each connection: a thread with a knot at each reconnect or change of transport. */

import { element } from "./dom.js";
import { TRANSPORTS } from "./readers.js";

export class ThreadView {
  #drawn = "";

  constructor(target) {
    this.target = target;
  }

  show(stretches) {
    const read = stretches.filter((stretch) => stretch.from);
    const drawn = JSON.stringify(read);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    while (this.target.children.length > read.length) this.target.lastChild.remove();
    while (this.target.children.length < read.length) this.target.append(element("span", { className: "stretch" }));
    read.forEach((stretch, index) => draw(this.target.children[index], stretch));
    this.target.setAttribute("aria-label", read.map(words).join("; ") || "No entries read yet");
  }
}

const words = ({ transport, from, to }) => `${TRANSPORTS[transport].name}: entries ${from} to ${to}`;

function draw(node, stretch) {
  node.dataset.transport = stretch.transport;
  node.title = words(stretch);
  node.style.flexGrow = String(stretch.to - stretch.from + 1);
}
