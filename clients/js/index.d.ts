export type Status = "queued" | "running" | "succeeded" | "failed" | "cancelled";
export type Transport = "sse" | "websocket" | "long" | "short" | "answer" | "ndjson";
export type Connection =
  | "idle" | "connecting" | "live" | "waiting" | "offline" | "stopped" | "refused" | "ended";

/** A string, or a function that is asked before each request, and with `refresh: true` after a 401. */
export type Token = string | ((why: { refresh: boolean }) => string | null | Promise<string | null>) | null;

export interface Failure { code: string; message: string; retryable: boolean }

/** A job's record, as `GET /jobs/{id}` answers it. */
export interface Job {
  id: string;
  status: Status;
  model: string;
  owner: string;
  attempt: number;
  last_entry: number;
  queue_position: number | null;
  position_is?: "exact" | "estimate" | null;
  estimated_start_at?: string | null;
  waiting_for?: WaitingFor | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  cancel_requested_at: string | null;
  finish_reason: string | null;
  usage: Record<string, number> | null;
  error: Failure | null;
  metadata: Record<string, unknown> | null;
  /** Of a job that has ended; a view has the text of one that runs. */
  text?: string;
  /** Of a result of a batch: the `after` of the results behind it. */
  cursor?: number;
  [field: string]: unknown;
}

/** The fields of `POST /jobs`. */
export interface Submission {
  prompt?: string;
  messages?: unknown[];
  model?: string;
  params?: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  [field: string]: unknown;
}

export interface Entry { id: number; kind: string; at: string; text?: string; [field: string]: unknown }
export interface Message { type: string; kind?: undefined; [field: string]: unknown }

export interface ToolCall { index: number; id: string; name: string; arguments: string }

/** Why a job waits: `turn`, `model_full`, `owner_limit`, `rate_limit`, `upstream`, `no_worker`, `not_before`, `conversation`. */
export interface WaitingFor { reason: string; [field: string]: unknown }
export interface Queue {
  position?: number | null;
  position_is?: "exact" | "estimate" | null;
  estimated_start_at?: string | null;
  waiting_for?: WaitingFor | null;
  [field: string]: unknown;
}

/** The data for a user interface. A new object after each change. */
export interface View {
  readonly job: Job | null;
  readonly text: string;
  readonly reasoning: string;
  readonly toolCalls: readonly ToolCall[];
  /** The JSON text that the upstream answered to one request, such as one for embeddings; empty for a text. */
  readonly result: string;
  readonly status: Status;
  readonly attempt: number;
  /** The place of the queued job and the reason of its wait; null once it runs. */
  readonly queue: Queue | null;
  readonly position: number | null;
  readonly waiting: { reason: string; retryAt: string } | null;
  readonly notice: Message | null;
  readonly usage: Record<string, number> | null;
  readonly finishReason: string | null;
  readonly lastEntry: number;
  /** Whether entries are missing here: reasoning and tool calls may have holes, the text does not once it has ended. */
  readonly incomplete: boolean;
  readonly isEnded: boolean;
  /** The error of the job, or the server's refusal of the reader. */
  readonly error: Failure | SpoolError | null;
  /** Why the last connection ended, while the client reconnects. */
  readonly trouble: SpoolError | null;
  readonly connection: Connection;
  readonly transport: Transport | null;
  readonly connections: number;
}

export interface FollowOptions {
  /** Begin after this entry. */
  from?: number;
  /** Keep what was read in sessionStorage, so that a reload continues from there. Default true. */
  keep?: boolean;
  /** Show text at a steady pace. Default false. */
  paced?: boolean;
  throttleMs?: number;
  /** Only these transports, best first. Default: all but `ndjson`. */
  transports?: Transport[];
  signal?: AbortSignal;
  onEntry?(document: Entry | Message): void;
  onChange?(view: View): void;
  onEnd?(view: View): void;
}

export interface Follow extends AsyncIterable<Entry | Message> {
  readonly id: string;
  readonly view: View;
  start(): Follow;
  stop(): void;
  /** Continue over these transports, best first, after the last entry. */
  use(transports?: Transport[]): Follow;
  cancel(): Promise<Job>;
  subscribe(listener: (view: View) => void): () => void;
}

export interface RequestOptions { signal?: AbortSignal; timeoutMs?: number }
export interface SubmitOptions {
  idempotencyKey?: string;
  withinMs?: number;
  signal?: AbortSignal;
  /** Called before each wait for another attempt. */
  onRetry?: (error: SpoolError, waitMs: number) => void;
}

export interface Batch {
  id: string;
  total: number;
  counts: Record<Status, number>;
  ended: boolean;
  [field: string]: unknown;
}

export interface BatchFields {
  metadata?: Record<string, string>;
  webhook?: { url: string; events?: string[] };
  completion_window?: string;
  on_bad_line?: "refuse" | "skip";
  keep_jobs?: boolean;
}

/** An entry of a batch's log: a line that has ended. */
export interface BatchLine {
  id: number;
  kind: "line";
  batch_index: number;
  job: string;
  status: string;
  error: Failure | null;
  [field: string]: unknown;
}

/** The data of a batch for a user interface. A new object after each change. */
export interface BatchView {
  /** Null until the server has answered. */
  readonly batch: Batch | null;
  readonly lastEntry: number;
  readonly isEnded: boolean;
  readonly connection: Connection;
  readonly transport: Transport | null;
  /** The server's refusal of the reader. */
  readonly error: SpoolError | null;
  /** Why the last connection ended, while the client reconnects. */
  readonly trouble: SpoolError | null;
}

export interface BatchFollowOptions {
  /** Begin after this entry of the batch's log. */
  from?: number;
  throttleMs?: number;
  /** Only these, best first. Default: `sse`, `long`, `short`. */
  transports?: Transport[];
  signal?: AbortSignal;
  /** Each line that ends, once and in order. */
  onEntry?(line: BatchLine): void;
  onChange?(view: BatchView): void;
}

export interface BatchFollow {
  readonly id: string;
  readonly view: BatchView;
  stop(): void;
  /** Request the record now. */
  refresh(): void;
}

export interface Batches {
  submit(submissions: Submission[], options?: SubmitOptions): Promise<Batch>;
  /** Open a batch, to which lines are added until it is sealed. */
  open(fields?: BatchFields, options?: SubmitOptions): Promise<Batch>;
  /** Add submissions to an open batch: all of them, or none. `first` is the `batch_index` of the first one. */
  add(id: string, submissions: Submission[], options?: SubmitOptions): Promise<{ first: number; count: number; batch: Batch }>;
  /** Seal an open batch: it ends with its last line. */
  seal(id: string, options?: RequestOptions): Promise<Batch>;
  get(id: string, options?: RequestOptions): Promise<Batch>;
  /** A page of the caller's batches, newest first. `filters`: as in `GET /batches`, such as `status` and `metadata`. */
  list(
    options?: RequestOptions & { limit?: number; cursor?: string | null; filters?: Record<string, string> },
  ): Promise<{ batches: Batch[]; cursor: string | null }>;
  follow(id: string, options?: BatchFollowOptions): BatchFollow;
  cancel(id: string, options?: RequestOptions): Promise<Batch>;
  pause(id: string, options?: RequestOptions): Promise<Batch>;
  resume(id: string, options?: RequestOptions): Promise<Batch>;
  /** The lines of an ended batch that did not succeed, as a new batch. The same call again returns the same batch. */
  retry(id: string, options?: RequestOptions): Promise<Batch>;
  /** Delete a batch that has ended, with its results. */
  delete(id: string, options?: RequestOptions): Promise<void>;
  wait(id: string, options?: { onProgress?(batch: Batch): void; signal?: AbortSignal }): Promise<Batch>;
  results(id: string, options?: { after?: number; signal?: AbortSignal }): AsyncGenerator<Job, void>;
  /** The jobs that have ended by now, in one pass, which ends with an error if the connection is lost. */
  resultsSoFar(id: string, options?: { after?: number; signal?: AbortSignal }): AsyncGenerator<Job, void>;
}

/** A change of a job or a batch, with its record after it. */
export interface JobEvent { id: number; kind: string; at: string; job?: Job; batch?: Batch }

export interface EventsOptions {
  /** Only events of this batch, or of jobs of this conversation. */
  batch?: string;
  conversation?: string;
  signal?: AbortSignal;
  /** Each event, once and in order. */
  onEvent?(event: JobEvent): void;
  /** Events may be missing: read the list. At the start, after a gap, and after Redis has lost some. */
  onMissed?(): void;
  onConnection?(connection: Connection, error: SpoolError | null): void;
}

export interface Events {
  readonly connection: Connection;
  stop(): void;
}

export interface ClientOptions {
  /** Default: the page's origin. */
  baseUrl?: string;
  token?: Token;
  transports?: Transport[];
  fetch?: typeof fetch;
  WebSocket?: typeof WebSocket;
  timing?: Record<string, number>;
}

export class Client {
  constructor(options?: ClientOptions);
  readonly batches: Batches;
  submit(submission: string | Submission, options?: SubmitOptions): Promise<Job>;
  follow(job: string | Job, options?: FollowOptions): Follow;
  /** The events of the caller's jobs and batches, until `stop()`. */
  events(options?: EventsOptions): Events;
  job(job: string | Job, options?: RequestOptions): Promise<Job>;
  wait(job: string | Job, options?: FollowOptions): Promise<Job>;
  cancel(job: string | Job, options?: RequestOptions): Promise<Job>;
}

export class SpoolError extends Error {
  readonly status: number;
  readonly problem: Record<string, unknown> | null;
  readonly retryAfterMs: number;
  readonly idempotencyKey: string | null;
  readonly isTemporary: boolean;
}

export class Pacer {
  constructor(options?: { lagMs?: number; now?: () => number });
  shown(text: string, isWhole?: boolean): string;
  skipTo(length: number): void;
}

export const TRANSPORTS: Record<Transport, unknown>;
