// node openai_web_dies.mjs URL PID OTHER_URL: kills the web (a process group) in the middle of what it streams.

import assert from "node:assert/strict";
import { PROMPT, SLOW, all, ended, first, report, sdkAt, textOf } from "./openai_shared.mjs";

const [url, pid, otherUrl] = process.argv.slice(2);
const here = sdkAt(url);
const there = sdkAt(otherUrl);
const asked = { ...SLOW, input: PROMPT, stream: true, background: true };

const dropped = await first(15, await here.responses.create(asked));
const cut = [];
let broken;
try {
  for await (const event of await here.responses.create(asked)) {
    cut.push(event);
    if (cut.length === 15) process.kill(-Number(pid), "SIGKILL");
  }
} catch (error) {
  broken = error;
}

async function goOn(seen) {
  const { response, sequence_number } = { ...seen[0], sequence_number: seen.at(-1).sequence_number };
  const rest = await there.responses.retrieve(response.id, { stream: true, starting_after: sequence_number });
  const events = [...seen, ...(await all(rest))];
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  assert.deepEqual(events, await all(await there.responses.retrieve(response.id, { stream: true })));
  const final = await ended(there, response.id);
  assert.equal(final.output_text, textOf(events));
  assert.equal(final.usage.output_tokens, asked.tokens);
}

await report({
  "a connection that was dropped before": () => goOn(dropped),
  async "a connection that the kill cuts"() {
    assert.ok(broken, "the SDK takes the half answer for a whole one");
    await goOn(cut);
  },
});
