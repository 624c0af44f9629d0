// Streams made with resumable-stream and followed by resuming, over node:http and Redis.
//
//   POST /jobs   an order as below; the streams are there when it is answered. This process produces them.
//   GET /jobs/NAME/stream
//   GET /produced          how many tokens of the last order this process has made
//
// The library's producer is whoever made the stream, so pacing is done here. Node's timers count whole milliseconds,
// which would show in the latencies: a thread waits in Atomics.wait and rings when a token is due.

import { once } from "node:events";
import { createServer } from "node:http";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const DUE = 0; // whether the thread rang and nobody has looked yet
const NEVER = 1;

const nowUs = () => Number(process.hrtime.bigint()) / 1000; // CLOCK_MONOTONIC, as in the order

// Token number i of this process: which job's, and how long after the start of all it is due. The jobs of all
// processes are spread over one interval; this one has those from `first` on, every `step`th.
function place(order, i) {
  const job = i % order.mine;
  const number = Math.floor(i / order.mine);
  const intervals = number + (order.first + job * order.step) / order.jobs;
  return { job, number, afterUs: (intervals / order.rate) * 1e6 };
}

function keepTime({ order, shared }) {
  for (let i = 0; i < order.mine * order.tokens; ) {
    const waitMs = (order.startMonotonicUs + place(order, i).afterUs - nowUs()) / 1000;
    if (waitMs > 0) {
      Atomics.wait(shared, NEVER, 0, waitMs);
      continue;
    }
    i++;
    if (Atomics.exchange(shared, DUE, 1) === 0) parentPort.postMessage(null);
  }
}

async function serve(port, redisPath) {
  const { createClient } = await import("redis");
  const { createResumableStreamContext } = await import("resumable-stream");
  // Without node-redis's own timeout of each command, which takes a quarter of all CPU.
  const options = { socket: { path: redisPath }, commandOptions: { timeout: undefined } };
  const [publisher, subscriber] = [createClient(options), createClient(options)];
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const streams = createResumableStreamContext({ waitUntil: null, publisher, subscriber });

  let order = { made: 0 };

  async function accept(request, response) {
    order = { ...JSON.parse((await request.toArray()).join("")), made: 0 };
    order.mine = Math.ceil((order.jobs - order.first) / order.step);
    const controllers = [];
    // What the first client would get is left alone: cancelled, it would make each token throw an error in the library.
    const make = (_, job) => {
      const start = (controller) => (controllers[job] = controller);
      const id = `${order.run}-${order.first + job * order.step}`;
      return streams.createNewResumableStream(id, () => new ReadableStream({ start }));
    };
    await Promise.all(Array.from({ length: order.mine }, make));
    const shared = new Int32Array(new SharedArrayBuffer(8));
    const clock = new Worker(new URL(import.meta.url), { workerData: { order, shared } });
    clock.on("message", producer(order, controllers, shared));
    await once(clock, "online");
    response.writeHead(204).end();
  }

  async function follow(id, response) {
    const stream = await streams.resumeExistingStream(id);
    if (!stream) return response.writeHead(422).end(); // as in the library's own example
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" }).flushHeaders();
    const reader = stream.getReader();
    let goOn = () => {};
    response.on("drain", () => goOn());
    response.on("close", () => {
      reader.cancel().catch(() => {});
      goOn();
    });
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (!response.write(part.value) && !response.destroyed) await new Promise((resolve) => (goOn = resolve));
    }
    response.end();
  }

  const server = createServer((request, response) => {
    const refuse = (error) => {
      console.error(`${request.url}: ${error.message}`);
      if (!response.headersSent) response.writeHead(503);
      response.end();
    };
    const [, what, id] = request.url.split("/");
    if (what === "produced") return response.end(`${order.made}`);
    (request.method === "POST" ? accept(request, response) : follow(id, response)).catch(refuse);
  });
  process.on("unhandledRejection", (error) => console.error(`unhandled: ${error.message}`)); // of the library's own
  server.listen(port, "127.0.0.1", 4096);
}

// Hands every token that is due to its job's stream.
function producer(order, controllers, shared) {
  return () => {
    Atomics.store(shared, DUE, 0);
    const passedUs = nowUs() - order.startMonotonicUs;
    const at = new Date().toISOString();
    for (; order.made < order.mine * order.tokens; order.made++) {
      const { job, number, afterUs } = place(order, order.made);
      if (afterUs > passedUs) return;
      const text = `${Math.floor(order.startUs + afterUs)} `;
      const entry = `{"id":${number + 1},"kind":"token","at":"${at}","text":"${text}"}`;
      controllers[job].enqueue(`id: ${number + 1}\ndata: ${entry}\n\n`);
      if (number + 1 < order.tokens) continue;
      const end = `{"id":${number + 2},"kind":"done","at":"${at}","finish_reason":"stop"}`;
      controllers[job].enqueue(`id: ${number + 2}\ndata: ${end}\n\n`);
      controllers[job].close();
    }
  };
}

if (isMainThread) await serve(Number(process.argv[2]), process.argv[3]);
else keepTime(workerData);
