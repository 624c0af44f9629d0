/** Draws a page of the documentation from the Markdown that it was delivered with. */

import createPurifier from "./vendor/dompurify.js";
import { Marked } from "./vendor/marked.js";

const article = document.getElementById("page");

/** The address of a file of the repository, seen from this page's own file; null if no page shows it. */
function addressOf(href) {
  if (href.startsWith("#") || /^https?:/.test(href)) return href;
  const { pathname, hash } = new URL(href, new URL(article.dataset.file, "http://repository/"));
  const file = pathname.slice(1);
  if (/^README(\.\w+)?\.md$/.test(file)) return `/docs/${file.replace("README", "overview").replace(/\.md$/, "").replace(".", "-")}${hash}`;
  const name = file.replace(/^docs\//, "").replace(/\.md$/, "").replace(/\/README$/, "");
  const isPage = file.endsWith(".md") && document.querySelector(`#pages a[href="/docs/${CSS.escape(name)}"]`);
  return isPage || /^docs\/.+\.(svg|png|py|mjs|html)$/.test(file) ? `/docs/${name}${hash}` : null;
}

/** A heading's anchor, as repositories make it. */
const anchorOf = (text) =>
  text
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replace(/\s/g, "-");

function draw() {
  const drawn = createPurifier(window).sanitize(new Marked({ gfm: true }).parse(article.querySelector(".source").textContent), {
    FORBID_TAGS: ["style", "form"],
    FORBID_ATTR: ["style"],
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of drawn.querySelectorAll("a[href]")) {
    const address = addressOf(link.getAttribute("href"));
    if (address) link.href = address;
    else link.replaceWith(...link.childNodes);
  }
  for (const image of drawn.querySelectorAll("img")) {
    const address = addressOf(image.getAttribute("src") ?? "");
    if (address?.startsWith("/docs/")) image.src = address;
    else image.replaceWith(image.alt);
    image.loading = "lazy";
  }
  for (const heading of drawn.querySelectorAll("h1, h2, h3, h4")) heading.id = anchorOf(heading.textContent);
  for (const block of drawn.querySelectorAll("pre")) block.tabIndex = 0;
  for (const empty of drawn.querySelectorAll("th:empty")) empty.replaceWith(document.createElement("td"));
  for (const [index, table] of drawn.querySelectorAll("table").entries()) {
    const box = document.createElement("div");
    box.className = "wide";
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", `Table ${index + 1}`);
    table.replaceWith(box);
    box.append(table);
  }
  article.replaceChildren(drawn);
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

// On a phone the list would fill the screen.
if (matchMedia("(max-width: 860px)").matches) document.getElementById("pages").open = false;
if (article) draw();
