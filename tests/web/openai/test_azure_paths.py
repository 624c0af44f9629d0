"""Azure's paths lead to the calls of ``/v1``."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request

from web.access.shown import shown_by
from web.openai.azure_paths import AzurePaths, with_deployment


@pytest.fixture
def app() -> Flask:
    """An application that answers what it was asked."""
    app = Flask("test")
    app.wsgi_app = AzurePaths(app.wsgi_app)  # type: ignore[method-assign]

    @app.post("/<path:path>")
    def echo(path: str) -> dict[str, Any]:
        return {"path": path, "body": with_deployment(request.json)}

    return app


@pytest.mark.parametrize(
    ("path", "leads_to", "model"),
    [
        ("/openai/deployments/gpt%204/chat/completions?api-version=2024-10-21", "v1/chat/completions", "gpt 4"),
        ("/openai/deployments/gr%C3%B6%C3%9Fe/chat/completions", "v1/chat/completions", "größe"),
        ("/openai/v1/responses", "v1/responses", "own"),
        ("/openai/responses?api-version=preview", "v1/responses", "own"),
        ("/v1/responses", "v1/responses", "own"),
        ("/openai", "openai", "own"),
        ("/x/openai/v1/responses", "x/openai/v1/responses", "own"),
    ],
)
def test_paths(app: Flask, path: str, leads_to: str, model: str) -> None:
    """The path is that of ``/v1``, and a deployment in it is the model."""
    answer = app.test_client().post(path, json={"model": "own"}).json
    assert answer == {"path": leads_to, "body": {"model": model}}


def test_body_that_is_no_object(app: Flask) -> None:
    """Another body stays as it is, and is refused later."""
    assert app.test_client().post("/openai/deployments/d/x", json=[1]).json == {"path": "v1/x", "body": [1]}


@pytest.mark.parametrize("name", ["api-key", "x-api-key"])
def test_key_in_a_header_of_its_own(app: Flask, name: str) -> None:
    """The key may be in the header that Azure's clients send, as in that of Anthropic's."""
    with app.test_request_context(headers={name: "secret"}):
        assert shown_by(request, takes_token=False).text == "secret"
