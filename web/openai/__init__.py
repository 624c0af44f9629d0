"""``/v1``: OpenAI's Responses, Chat Completions and Models, for clients that exist. A translation of jobs and logs.

The Responses follow the Open Responses specification (https://www.openresponses.org) where it says more than OpenAI's
reference. What differs from either:

- There are no ``id:`` lines, and a heartbeat is a comment of one line: openai-python takes anything else for an empty
  event (https://github.com/openai/openai-python/issues/2722).
- Any response can be read again as a stream, while it runs and after it ended, as long as its job is kept.
- ``store: false`` keeps it for some minutes: it must be there for a client that lost its connection.
"""
