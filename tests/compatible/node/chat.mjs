// A chat of the AI SDK without a user interface: what its React and Vue packages add, as plain fields.

import { AbstractChat, DefaultChatTransport } from 'ai';

const WAIT_MS = 20_000;

class PlainState {
  status = 'ready';
  error = undefined;

  constructor(messages = []) {
    this.messages = messages;
  }

  pushMessage = message => {
    this.messages = [...this.messages, message];
  };

  popMessage = () => {
    this.messages = this.messages.slice(0, -1);
  };

  replaceMessage = (index, message) => {
    this.messages = this.messages.with(index, this.snapshot(message));
  };

  snapshot = value => structuredClone(value);
}

/** The SDK's own transport, which remembers what kinds of chunks came. */
class Transport extends DefaultChatTransport {
  kinds = [];

  processResponseStream(stream) {
    const kinds = this.kinds;
    return super.processResponseStream(stream).pipeThrough(
      new TransformStream({
        transform(chunk, controller) {
          kinds.push(chunk.type);
          controller.enqueue(chunk);
        },
      }),
    );
  }
}

/** A chat at one web (`url`); `resumeAt`: another one, where it resumes; `names`: a resume names the answer that it has
 * to its end; `fetch`, `body`: the transport's, unless it is given. */
export class Chat extends AbstractChat {
  constructor({ url, resumeAt = url, names, fetch, body, messages, transport, ...init }) {
    transport ??= new Transport({
      api: `${url}/ai/chat`,
      fetch,
      body,
      prepareReconnectToStreamRequest: ({ id }) => ({
        api: `${resumeAt}/ai/chat/${encodeURIComponent(id)}/stream${names ? `?has=${this.ended ?? ''}` : ''}`,
      }),
    });
    const finishes = [];
    const data = [];
    super({
      ...init,
      transport,
      state: new PlainState(messages),
      onData: part => data.push(part),
      onFinish: ({ message, isAbort, isDisconnect, isError, finishReason }) => {
        if (!isAbort && !isDisconnect && !isError) this.ended = message.id;
        finishes.push({ isAbort, isDisconnect, isError, finishReason });
      },
    });
    this.finishes = finishes;
    this.data = data;
  }

  /** The text of the last message. */
  get text() {
    const parts = this.lastMessage?.role === 'assistant' ? this.lastMessage.parts : [];
    return parts.map(part => (part.type === 'text' ? part.text : '')).join('');
  }

  /** Resolves once some text of the answer is there. */
  async hasText() {
    const deadline = Date.now() + WAIT_MS;
    while (!this.text) {
      if (Date.now() > deadline) throw new Error('waited in vain for text');
      await new Promise(resolve => setTimeout(resolve, 5));
    }
  }

  /** What the chat is now, for the test to look at. */
  seen() {
    return {
      status: this.status,
      error: this.error?.message,
      messages: this.messages,
      kinds: this.transport.kinds,
      finishes: this.finishes,
      data: this.data,
    };
  }
}

/** A `fetch` that loses the `which`-th answer's connection after so many bytes, as browsers report it. */
export function cutting(bytes, which = 1) {
  let calls = 0;
  return async (url, init) => {
    const response = await fetch(url, init);
    calls += 1;
    if (calls !== which) return response;
    let left = bytes;
    const cut = new TransformStream({
      transform(chunk, controller) {
        controller.enqueue(chunk.subarray(0, left));
        left -= chunk.length;
        if (left <= 0) controller.error(new TypeError('network error'));
      },
    });
    return new Response(response.body.pipeThrough(cut), response);
  };
}
