"""``/v1/messages``: Anthropic's Messages API, translated from jobs and logs, for existing clients on any upstream.

https://docs.anthropic.com/en/api/messages. Tools that Anthropic's servers run, prompt caching and signatures of
thinking have no meaning for other models, and are left out.
"""
