"""The models as Ollama's clients list them, and errors in their shape."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from spool.settings import WebSettings
from web.app import create_app


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """An application with the demo alone; its Redis does not answer."""
    return create_app(WebSettings(redis_url="redis://127.0.0.1:1")).test_client()


def test_models(client: FlaskClient) -> None:
    """The models are listed, and shown one by one, to clients of any age."""
    for path in ("/api/tags", "/api/ps"):
        assert [model["model"] for model in (client.get(path).json or {})["models"]] == ["demo"]
    for body in ('{"model": "demo"}', '{"name": "demo"}'):
        assert "tools" in (client.post("/api/show", data=body).json or {})["capabilities"]
    assert "version" in (client.get("/api/version").json or {})


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ('{"model": "none"}', 404, "no model 'none'"),
        ("{}", 400, "model: is required"),
        ("{", 400, "body"),
    ],
    ids=["unknown", "without", "broken"],
)
def test_error(client: FlaskClient, body: str, status: int, error: str) -> None:
    """An error is one text, under the status that Ollama answers."""
    answer = client.post("/api/show", data=body)
    assert answer.status_code == status
    assert error in (answer.json or {})["error"]


def test_request_without_a_prompt(client: FlaskClient) -> None:
    """A request without a prompt, with which clients load a model, is answered without a job."""
    answer = client.post("/api/generate", data='{"model": "demo"}').json or {}
    assert (answer["done"], answer["done_reason"], answer["response"]) == (True, "load", "")
    assert (client.post("/api/chat", data='{"model": "demo"}').json or {})["message"]["content"] == ""
    assert client.post("/api/chat", data='{"model": "none"}').status_code == 404
