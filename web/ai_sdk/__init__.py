"""``/ai/chat``: the endpoint for ``useChat`` and ``DefaultChatTransport`` of Vercel's AI SDK (``ai`` 6).

A chat's stream can be resumed and stopped.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol, https://ai-sdk.dev/docs/ai-sdk-ui/chatbot-resume-streams

An answer is a job. A chat is only a name by which its newest job is found: every request carries the earlier messages.

A resume has no cursor and gets the whole stream again, from ``start``; the SDK then rebuilds its message. If the answer
continues an assistant's message (after tool results), the stream starts with that message's earlier parts.
"""
