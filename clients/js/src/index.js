/** Spool's client: submit prompts as jobs, and follow what they produce through network failures. */

export { Client } from "./client.js";
export { SpoolError } from "./errors.js";
export { Pacer } from "./pacer.js";
export { TRANSPORTS } from "./transports/index.js";
