// Embeddings, pictures and completions of the older kind through the official Node SDK.

import assert from "node:assert/strict";
import { FAST, all } from "./openai_shared.mjs";

export const endpoints = {
  async "embeddings"({ here }) {
    // Without a format the SDK asks for base64, and decodes it.
    const packed = await here.embeddings.create({ model: "demo", input: ["one", "two words"] });
    const plain = await here.embeddings.create({ model: "demo", input: ["one", "two words"], encoding_format: "float" });
    assert.deepEqual(packed.data.map((item) => item.embedding), plain.data.map((item) => item.embedding));
    assert.equal(packed.usage.prompt_tokens, 3);
    const missing = { status: 404, code: "model_not_found" };
    await assert.rejects(here.embeddings.create({ model: "gpt-nothing", input: "a" }), missing);
    await assert.rejects(here.embeddings.create({ model: "demo", input: "" }), { status: 400, param: "input" });
  },

  async "pictures"({ here }) {
    const { data } = await here.images.generate({ model: "demo", prompt: "a spool", n: 2 });
    assert.deepEqual(data.map((item) => Buffer.from(item.b64_json, "base64").subarray(1, 4).toString()), ["PNG", "PNG"]);
  },

  async "completions of the older kind"({ here }) {
    const asked = { ...FAST, prompt: "Hello", max_tokens: 9 };
    const whole = await here.completions.create(asked);
    const chunks = await all(await here.completions.create({ ...asked, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), whole.choices[0].text);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "length");
    const several = await here.completions.create({ model: "demo", prompt: ["a", "b"], n: 2 });
    assert.deepEqual(several.choices.map((choice) => choice.index), [0, 1, 2, 3]);
  },
};
