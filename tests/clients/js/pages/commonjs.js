// Loads React, which is published as CommonJS only, without a build step. For tests.
const FOLDER = "/modules";
const loaded = new Map();
globalThis.process = { env: { NODE_ENV: "development" } };

export async function load(name) {
  if (loaded.has(name)) return loaded.get(name);
  const [pack, part = "index"] = name.split("/");
  const source = await (await fetch(`${FOLDER}/${pack}/cjs/${pack}${part === "index" ? "" : `-${part}`}.development.js`)).text();
  const needed = [...source.matchAll(/require\("([^"]+)"\)/g)].map(([, other]) => other);
  for (const other of needed) await load(other);
  const module = { exports: {} };
  new Function("module", "exports", "require", source)(module, module.exports, (other) => loaded.get(other));
  loaded.set(name, module.exports);
  return module.exports;
}
