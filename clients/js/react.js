/** `useJob`: a job in a React component, while it is generated and after. */

import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Client } from "./src/client.js";
import { share } from "./src/shared.js";
import { newState } from "./src/state.js";

const NOTHING = Object.freeze({
  ...newState(),
  job: null,
  position: null,
  lastEntry: 0,
  error: null,
  trouble: null,
  isEnded: false,
  connection: "idle",
  transport: null,
  connections: 0,
});

/**
 * Follow the job `id`; null follows nothing. `token`: a string or a function; a new one needs no new connection.
 * `from`: begin after this entry. Components that show the same job share one connection.
 */
export function useJob(id, { token = null, from = 0, throttleMs = 0, baseUrl, paced = false, transports } = {}) {
  const current = useRef(token);
  current.current = token;
  const hasToken = token !== null;
  const client = useMemo(() => {
    const ask = (why) => (typeof current.current === "function" ? current.current(why) : current.current);
    return new Client({ baseUrl, token: hasToken ? ask : null });
  }, [baseUrl, hasToken]);
  const [view, setView] = useState(NOTHING);
  const following = useRef(null);

  useEffect(() => {
    setView(NOTHING);
    if (!id) return undefined;
    const options = { from, throttleMs, paced, transports };
    const key = JSON.stringify([client.http.baseUrl, hasToken, id, options]);
    const { follow, release } = share(key, () => client.follow(id, options));
    following.current = follow;
    setView(follow.view);
    const unsubscribe = follow.subscribe(setView);
    return () => {
      unsubscribe();
      release();
    };
  }, [client, hasToken, id, from, throttleMs, paced, transports?.join()]);

  const cancel = useCallback(() => client.cancel(id), [client, id]);
  const start = useCallback(() => following.current?.start(), []);
  return { ...view, cancel, start };
}
