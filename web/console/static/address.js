/** The page's address: which job is open, and over which transport. A reload goes on from there. */

/** `{ job, transport }`, each empty if the address does not say. */
export function read() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const job = parts.get("job") || "";
  return { job: /^[\w-]+$/.test(job) ? job : "", transport: parts.get("via") || "" };
}

/** The part of the address that opens a job over a transport. */
export function hashOf(job, transport) {
  return `#job=${job}${transport === "sse" ? "" : `&via=${transport}`}`;
}
