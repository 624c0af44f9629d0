/** The part of an address that hands an answer over. It is behind "#", so browsers never send it to a server. */

/** `{ job, place, token }`: the place is an offset in the answer's text. */
export const hashOf = ({ job, place, token }) => `#${new URLSearchParams({ job, place, token })}`;

/** The same of an address; null where it is incomplete. */
export function readHash(hash) {
  const query = new URLSearchParams(hash.slice(1));
  const [job, token, place] = ["job", "token", "place"].map((name) => query.get(name) ?? "");
  return job && token ? { job, token, place: /^\d{1,9}$/.test(place) ? Number(place) : 0 } : null;
}
