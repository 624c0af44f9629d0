"""``/v1``: OpenAI's Responses, Chat Completions and Models, translated from jobs and logs, for existing clients.

Responses follow the Open Responses specification (https://www.openresponses.org) where it says more than OpenAI's
reference. Differences from both:

- There are no ``id:`` lines, and a heartbeat is a one-line comment: openai-python reads anything else as an empty
  event (https://github.com/openai/openai-python/issues/2722).
- Any response can be streamed again, while it runs and after its end, as long as its job is stored.
- ``store: false`` keeps a response for some minutes, so that a client can resume after a lost connection.
"""
