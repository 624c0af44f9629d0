/** The client's timeouts and intervals. Milliseconds, unless the name says otherwise. */

export const TIMING = Object.freeze({
  /** A plain request, from its start to the end of its answer. */
  requestMs: 10_000,
  /** A request for the job's record while in doubt. */
  lookMs: 4000,
  /** A stream's first bytes. Without them the record is asked; if that answers, a proxy holds the stream back. */
  firstBytesMs: 2500,
  /** Silence on a connection before the record is asked, growing to `quietMostMs` while the record agrees. */
  quietMs: 5000,
  quietMostMs: 20_000,
  /** Between the first look that finds entries missing here and the second. */
  secondLookMs: 1000,
  /** Of one long poll. */
  longWaitS: 25,
  /** Between two short polls, growing to `pollMostMs` while nothing comes. */
  pollMs: 1000,
  pollMostMs: 4000,
  /** Before a reconnect, growing to `retryMostMs`, and to `outageMostMs` after a minute without any answer. */
  retryMs: 250,
  retryMostMs: 2500,
  outageMostMs: 15_000,
  /** Between two tries of a better transport, doubling to `climbMostMs`. */
  climbMs: 60_000,
  climbMostMs: 1_800_000,
  /** How long a submit is repeated until it has an answer. */
  submitMs: 60_000,
});
