// What the scripts for the official Node SDK share. The SDK is as its users have it: only the base URL is set.

import OpenAI from "openai";

export const PROMPT = "What is a spool?";
// The demo model's own parameters: as fast as it goes; or some seconds long, to be cut off in the middle.
export const FAST = { model: "demo", rate: 0 };
export const SLOW = { model: "demo", tokens: 75, rate: 30 };
export const CITY = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

// Also on a busy machine.
const CASE_S = 100;

export const sdkAt = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });

export async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

// The first items of a stream. Leaving the loop is how an SDK's user hangs up.
export async function first(count, stream) {
  const items = [];
  for await (const item of stream) {
    items.push(item);
    if (items.length === count) break;
  }
  return items;
}

export const textOf = (events) =>
  events
    .filter((event) => event.type === "response.output_text.delta")
    .map((event) => event.delta)
    .join("");

export async function waitFor(condition, what, withinS = 15) {
  const deadline = Date.now() + withinS * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within ${withinS} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// The response once it has ended, as one who polls sees it.
export const ended = (sdk, id) =>
  waitFor(async () => {
    const response = await sdk.responses.retrieve(id);
    return ["queued", "in_progress"].includes(response.status) ? null : response;
  }, `${id} ends`);

// Runs all cases at the same time, and prints one JSON object: for each its name with null, or what went wrong.
export async function report(cases, ...given) {
  const results = {};
  const run = async ([name, body]) => {
    let timer;
    const late = new Promise((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`not within ${CASE_S} s`)), CASE_S * 1000);
    });
    try {
      await Promise.race([body(...given), late]);
      results[name] = null;
    } catch (error) {
      results[name] = error?.stack ?? String(error);
    } finally {
      clearTimeout(timer);
    }
  };
  await Promise.all(Object.entries(cases).map(run));
  process.stdout.write(JSON.stringify(results), () => process.exit());
}
