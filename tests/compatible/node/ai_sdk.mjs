// What a chat of the AI SDK does against a running Spool: node ai_sdk.mjs SCENARIO OPTIONS. Answers JSON.

import { lastAssistantMessageIsCompleteWithToolCalls } from 'ai';
import { Chat, cutting } from './chat.mjs';

const PROMPT = { text: 'What is a spool?' };

function stopped(url, id, body) {
  return fetch(`${url}/ai/chat/${encodeURIComponent(id)}/stop`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  }).then(response => response.json());
}

async function ended(url, job) {
  const deadline = Date.now() + 60_000;
  while (!(await fetch(`${url}/jobs/${job}`).then(response => response.json())).ended_at) {
    if (Date.now() > deadline) throw new Error(`waited in vain for the end of ${job}`);
    await new Promise(done => setTimeout(done, 50));
  }
}

const scenarios = {
  /** Two turns to their ends. */
  async whole({ url, body }) {
    const chat = new Chat({ url, body });
    await chat.sendMessage(PROMPT);
    await chat.sendMessage({ text: 'And a reel?' });
    return chat.seen();
  },

  /** The connection is lost in the middle; the chat resumes at another web. */
  async cut({ url, other, body, bytes }) {
    const chat = new Chat({ url, resumeAt: other, body, fetch: cutting(bytes) });
    await chat.sendMessage(PROMPT);
    const before = structuredClone(chat.seen());
    await chat.resumeStream();
    return { before, after: chat.seen() };
  },

  /** The connection is lost just before the end; the chat resumes at another web once the job has ended. */
  async cutBeforeItsEnd({ url, other, body, bytes }) {
    const chat = new Chat({ url, resumeAt: other, body, names: true, fetch: cutting(bytes) });
    await chat.sendMessage(PROMPT);
    const before = structuredClone(chat.seen());
    await ended(url, chat.lastMessage.id.replace('msg_', ''));
    await chat.resumeStream();
    return { before, after: chat.seen() };
  },

  /** A chat and a page that is loaded again, which both have the ended answer, resume it. */
  async hasAll({ url, other, body, prompt }) {
    const chat = new Chat({ url, resumeAt: other, body });
    await chat.sendMessage(prompt ?? PROMPT);
    const before = structuredClone(chat.messages);
    await chat.resumeStream();
    const again = new Chat({ url: other, id: chat.id, messages: before });
    await again.resumeStream();
    return { before, chat: chat.seen(), again: again.seen() };
  },

  /** A page that is loaded again in the middle: a new chat of the same id, which has the user's message alone. */
  async reloaded({ url, other, body }) {
    const first = new Chat({ url, body });
    const sent = first.sendMessage(PROMPT);
    await first.hasText();
    const again = new Chat({ url: other, id: first.id, messages: first.messages.slice(0, 1) });
    await again.resumeStream();
    await sent;
    return { first: first.seen(), again: again.seen() };
  },

  /** `stop()` leaves the stream alone; the chat resumes it. */
  async left({ url, body }) {
    const chat = new Chat({ url, body });
    const sent = chat.sendMessage(PROMPT);
    await chat.hasText();
    await chat.stop();
    await sent;
    const before = structuredClone(chat.seen());
    await chat.resumeStream();
    return { before, after: chat.seen() };
  },

  /** Two readers at two webs; a stop that names an older stream; and the stop button of the SDK's guide. */
  async stop({ url, other, body }) {
    const first = new Chat({ url, body });
    const sent = first.sendMessage(PROMPT);
    await first.hasText();
    const second = new Chat({ url: other, id: first.id });
    const resumed = second.resumeStream();
    await second.hasText();
    const answers = [await stopped(other, first.id, { messageId: 'msg_older' })];
    const between = [first.status, second.status];
    answers.push(await stopped(other, first.id, { assistantMessage: first.lastMessage }));
    await Promise.all([sent, resumed]);
    return { answers, between, first: first.seen(), second: second.seen() };
  },

  /** A job that fails. */
  async failure({ url, body }) {
    const chat = new Chat({ url, body });
    await chat.sendMessage(PROMPT);
    return chat.seen();
  },

  /** A job that waits until another one of its conversation has ended, which `release` cancels. */
  async waits({ url, body, release }) {
    const chat = new Chat({ url, body });
    const sent = chat.sendMessage(PROMPT);
    while (!chat.data.some(part => part.type === 'data-queue')) await new Promise(done => setTimeout(done, 50));
    await fetch(release, { method: 'POST' });
    await sent;
    return chat.seen();
  },

  /** Nothing to resume: in an unknown chat, and in one that says that it has the answer. */
  async idle({ url, body }) {
    const chat = new Chat({ url, body, names: true });
    const unknown = await chat.transport.reconnectToStream({ chatId: chat.id });
    await chat.sendMessage(PROMPT);
    const ended = await chat.transport.reconnectToStream({ chatId: chat.id });
    await chat.resumeStream();
    return { unknown, ended, ...chat.seen() };
  },

  /** A tool of the application's is called and its output sent by itself; where `bytes`, the answer to that is cut. */
  async tools({ url, other, body, bytes }) {
    const calls = [];
    const chat = new Chat({
      url,
      resumeAt: other,
      body,
      fetch: bytes ? cutting(bytes, 2) : fetch,
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall({ toolCall }) {
        calls.push(toolCall);
        const { toolName: tool, toolCallId } = toolCall;
        void chat.addToolOutput({ tool, toolCallId, output: { degrees: 18 } });
      },
    });
    await chat.sendMessage({ text: 'The weather in Paris?' });
    const before = structuredClone(chat.seen());
    if (bytes) await chat.resumeStream();
    return { calls, before, after: chat.seen() };
  },
};

const [name, options] = process.argv.slice(2);
console.log(JSON.stringify(await scenarios[name](JSON.parse(options))));
