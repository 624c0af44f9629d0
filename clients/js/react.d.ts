import type { Job, Token, Transport, View } from "./index.js";

export interface UseJobOptions {
  token?: Token;
  /** Begin after this entry. */
  from?: number;
  throttleMs?: number;
  baseUrl?: string;
  paced?: boolean;
  transports?: Transport[];
}

export interface UsedJob extends View {
  cancel(): Promise<Job>;
  /** Start again after a refusal; end a pause. */
  start(): void;
}

export function useJob(id: string | null | undefined, options?: UseJobOptions): UsedJob;
