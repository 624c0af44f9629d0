/** The page's address: the open job and its transport. A reload restores both. */

/** `{ job, transport }`, each empty if it is not in the address. */
export function read() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const job = parts.get("job") || "";
  return { job: /^[\w-]+$/.test(job) ? job : "", transport: parts.get("via") || "" };
}

/** The part of the address that opens a job over a transport. */
export function hashOf(job, transport) {
  return `#job=${job}${transport === "sse" ? "" : `&via=${transport}`}`;
}
