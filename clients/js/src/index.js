/** Spool's client: submit prompts as jobs, and follow what they produce through whatever the network does. */

export { Client } from "./client.js";
export { SpoolError } from "./errors.js";
export { Pacer } from "./pacer.js";
export { TRANSPORTS } from "./transports/index.js";
