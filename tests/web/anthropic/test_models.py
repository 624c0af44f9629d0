"""Anthropic's clients get models in their shape, at the path where OpenAI's clients get theirs."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from spool.settings import WebSettings
from web.app import create_app

VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """An application with the demo alone; its Redis does not answer."""
    return create_app(WebSettings(redis_url="redis://127.0.0.1:1")).test_client()


def test_models_for_each_client(client: FlaskClient) -> None:
    """The header ``anthropic-version`` decides on the shape."""
    page = client.get("/v1/models", headers=VERSION).json
    assert page is not None
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("demo", "demo", False)
    assert [(model["id"], model["display_name"], model["type"]) for model in page["data"]] == [
        ("demo", "demo", "model")
    ]
    assert client.get("/anthropic/v1/models").json == page
    assert client.get("/v1/models/demo", headers=VERSION).json == page["data"][0]
    assert (client.get("/v1/models").json or {})["object"] == "list"


def test_unknown_model(client: FlaskClient) -> None:
    """An unknown name is a 404 in Anthropic's shape, and the response has an id."""
    answer = client.get("/v1/models/a/b", headers=VERSION)
    assert answer.status_code == 404
    assert (answer.json or {})["error"]["type"] == "not_found_error"
    assert answer.headers["request-id"]


def test_paths_beside_the_models(client: FlaskClient) -> None:
    """The header changes no other path."""
    assert (client.get("/v1/modelsx", headers=VERSION).json or {})["error"]["type"] == "invalid_request_error"
