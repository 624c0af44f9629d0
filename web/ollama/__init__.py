"""``/api``: Ollama's API, translated from jobs and logs, for existing clients on any upstream.

https://github.com/ollama/ollama/blob/main/docs/api.md. Calls that manage models (pull, create, delete, …) do not exist.
"""
