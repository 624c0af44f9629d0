/** The page's address: which page, which job, over which transports. A reload restores all of it. */

const PAGES = new Set(["jobs", "batches", "system", "usage", "keys"]);
const ID = /^[\w-]+$/;

/** `{ page, id, query }`; the playground is the page "" and its job the id. */
export function read() {
  const hash = location.hash.slice(1);
  if (hash.startsWith("/")) {
    const [path, query = ""] = hash.slice(1).split("?");
    const [page, id = ""] = path.split("/");
    if (PAGES.has(page)) return { page, id: ID.test(id) ? id : "", query: new URLSearchParams(query) };
  }
  const query = new URLSearchParams(hash);
  const job = query.get("job") || "";
  return { page: "", id: ID.test(job) ? job : "", query };
}

/** The part of the address that opens a job. `via` and `and`: the transports of its readers. */
export function hashOfJob(job, via = "auto", and = "") {
  return `#job=${job}${via === "auto" ? "" : `&via=${via}`}${and ? `&and=${and}` : ""}`;
}
