"""Servers that speak OpenAI's API: the client, its transport, streams, errors, the gate of each model."""
