// What a chat over WorkflowChatTransport does against a running Spool: node workflow.mjs SCENARIO OPTIONS. Answers JSON.

import { WorkflowChatTransport } from '@workflow/ai';
import { Chat, cutting } from './chat.mjs';

const PROMPT = { text: 'What is a spool?' };

/** A chat, with the numbers from which its transport asked for the rest. */
function chatAt({ url, other = url, fetch: given = fetch, ...options }) {
  const asked = [];
  const transport = new WorkflowChatTransport({
    api: `${url}/ai/workflow`,
    fetch: (address, init) => {
      const index = new URL(address).searchParams.get('startIndex');
      if (index !== null) asked.push(Number(index));
      return given(address, init);
    },
    onChatSendMessage: response => {
      chat.job = response.headers.get('x-workflow-run-id');
    },
    prepareReconnectToStreamRequest: ({ api }) => ({ api: api.replace(url, other) }),
    ...options,
  });
  const chat = new Chat({ transport });
  chat.result = () => ({ ...chat.seen(), job: chat.job, asked });
  return chat;
}

const scenarios = {
  /** To its end, and again from the last chunks. */
  async whole({ url, body }) {
    const chat = chatAt({ url });
    await chat.sendMessage(PROMPT, { body });
    const kinds = [];
    const transport = new WorkflowChatTransport({ api: `${url}/ai/workflow` });
    const again = await transport.reconnectToStream({ chatId: chat.job, startIndex: -3 });
    for await (const chunk of again) kinds.push(chunk.type);
    return { ...chat.result(), kinds };
  },

  /** The connection is lost; the transport resumes by itself at another web. */
  async cut({ url, other, body, bytes }) {
    const chat = chatAt({ url, other, fetch: cutting(bytes) });
    await chat.sendMessage(PROMPT, { body });
    return chat.result();
  },

  /** The job fails. */
  async failure({ url, body }) {
    const chat = chatAt({ url });
    await chat.sendMessage(PROMPT, { body });
    return chat.result();
  },

  /** The job is cancelled. */
  async stop({ url, other, body }) {
    const chat = chatAt({ url });
    const sent = chat.sendMessage(PROMPT, { body });
    await chat.hasText();
    await fetch(`${other}/jobs/${chat.job}/cancel`, { method: 'POST' });
    await sent;
    return chat.result();
  },
};

const [name, options] = process.argv.slice(2);
console.error = () => {};
console.log(JSON.stringify(await scenarios[name](JSON.parse(options))));
