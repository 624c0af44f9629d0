"""Azure's own client, whose models stand in the path, against Spool as its endpoint."""

from __future__ import annotations

from openai import AzureOpenAI

from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack


def test_deployment_is_the_model(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> None:
    """A completion, streamed or not, and a response come from the model that the deployment names."""
    stack = stack_and_upstreams[0]
    endpoint = stack.webs[0].url
    with AzureOpenAI(azure_endpoint=endpoint, api_version="2024-10-21", api_key="none") as client:
        asked = [{"role": "user", "content": "one"}]
        whole = client.chat.completions.create(model="thinks", messages=asked)  # type: ignore[arg-type]
        assert (whole.model, whole.choices[0].message.content) == ("thinks", "Answer 0.")
        chunks = client.chat.completions.create(model="thinks", messages=asked, stream=True)  # type: ignore[call-overload]
        assert "".join([chunk.choices[0].delta.content or "" for chunk in chunks]) == "Answer 0."
        assert client.responses.create(model="thinks", input="one").output_text == "Answer 0."
