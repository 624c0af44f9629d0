// Runs the cases of side_by_side.mjs and side_by_side_ai.mjs.

// A crowd would make the clients' timeouts a matter of the machine's speed.
const AT_ONCE = 6;

/** Runs all cases, some at a time, and prints one JSON object: what each saw, by its model. */
export async function report(cases, run) {
  const found = {};
  const rest = [...cases];
  const work = async () => {
    for (let next = rest.shift(); next; next = rest.shift()) {
      const [model, seen] = await run(next);
      found[model] = seen;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  process.stdout.write(JSON.stringify(found), () => process.exit());
}
