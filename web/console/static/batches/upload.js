/** Uploads a file as a batch, with progress. A retry has the same key, so it never creates a second batch. */

const AGAIN_MS = 2000;
const TRIES = 4;

export class Upload {
  #request = null;
  #isStopped = false;
  #wake = () => {};

  /** `progress(fraction)`: from 0 to 1, null while the connection is lost. */
  constructor(file, type, options, progress) {
    Object.assign(this, { file, type, progress });
    this.address = `/batches?${new URLSearchParams(Object.entries(options).filter(([, value]) => value))}`;
    this.key = crypto.getRandomValues(new Uint32Array(4)).join("-");
  }

  /** Resolves to the batch, or to null after a stop. Throws an error with `status` and `problem`. */
  async run() {
    for (let tries = 1; !this.#isStopped; tries += 1) {
      const { status, problem, retryAfterS } = await this.#send();
      if (this.#isStopped) return null;
      if (status === 200 || status === 202) return problem;
      const isTemporary = status === 0 || status === 503 || (status === 409 && retryAfterS);
      if (!isTemporary || tries === TRIES) throw refusal(status, problem);
      this.progress(null);
      await this.#pause(Math.max(AGAIN_MS, retryAfterS * 1000));
    }
    return null;
  }

  stop() {
    this.#isStopped = true;
    this.#request?.abort();
    this.#wake();
  }

  #send() {
    return new Promise((resolve) => {
      // Only XMLHttpRequest has the progress of an upload.
      const request = new XMLHttpRequest();
      this.#request = request;
      request.responseType = "json";
      request.upload.onprogress = ({ loaded, total }) => this.progress(total ? loaded / total : 0);
      request.onloadend = () =>
        resolve({
          status: request.status,
          problem: request.response,
          retryAfterS: Number(request.getResponseHeader("Retry-After")) || 0,
        });
      request.open("POST", this.address);
      request.setRequestHeader("Content-Type", this.type);
      request.setRequestHeader("Idempotency-Key", this.key);
      request.send(this.file);
    });
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => (clearTimeout(timer), resolve());
    });
  }
}

function refusal(status, problem) {
  const message = problem?.detail ?? problem?.title ?? (status ? `HTTP ${status}` : "");
  return Object.assign(new Error(message), { status, problem });
}
