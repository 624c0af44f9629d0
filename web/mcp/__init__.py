"""``/mcp``: jobs as tools of the Model Context Protocol, over its Streamable HTTP transport.

https://modelcontextprotocol.io/specification. The server keeps no sessions, sends no requests and answers each call
with one JSON document, which all revisions of the transport allow. Not there: resources, prompts, and progress.
"""
