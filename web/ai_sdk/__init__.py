"""``/ai/chat``: what ``useChat`` of Vercel's AI SDK calls (``ai`` 6), and its ``DefaultChatTransport``: a chat whose
stream can be resumed, and stopped.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol, https://ai-sdk.dev/docs/ai-sdk-ui/chatbot-resume-streams

An answer is a job. A chat is nothing but the name under which its newest job is found again: what was said before
comes with every request.

A resume has no cursor and gets the whole stream again, from ``start``; the SDK then begins its message anew. Where the
answer went on an assistant's message (the results of its tools came in), that begins with what the message had before.
"""
