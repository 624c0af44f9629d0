"""The official SDK's ``responses.connect()`` against a Spool: ``openai_socket.py URL``."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from cases import report
from openai import OpenAI

FAST = {"model": "demo", "rate": 0, "first_token_s": 0}


def connect() -> None:
    """A response, and its continuation on the same socket."""
    warnings.simplefilter("ignore", DeprecationWarning)
    texts: list[str] = []
    previous: dict[str, Any] = {}
    with OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none") as client, client.responses.connect() as connection:
        for prompt in ("one", "two"):
            connection.send({"type": "response.create", "input": prompt, **FAST, **previous})
            for event in connection:
                if event.type == "response.completed":
                    texts.append(event.response.output_text)
                    previous = {"previous_response_id": event.response.id}
                    break
    assert "> one" in texts[0], texts
    assert "> two" in texts[1], texts


report(connect)
