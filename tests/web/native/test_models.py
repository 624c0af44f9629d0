"""The list of models: their limits, and nothing of their upstreams."""

from __future__ import annotations

from spool.jobs.closed_models import ClosedModel
from spool.models.model import DEMO, Model
from tests.stack import Stack
from tests.web.conftest import ADMIN
from web.native.models import model_document

SMALL = Model(name="small", backend="openai", upstream="gpu", upstream_model="org/small-1b", max_running=3)


def test_model_whose_upstream_refuses() -> None:
    """Callers see why and until when a model is closed."""
    closed = ClosedModel("small", since=0.0, until=1.5, reason="HTTP 429: slow down", status=429)
    assert model_document(SMALL, closed)["closed"] == {
        "since": "1970-01-01T00:00:00.000Z",
        "until": "1970-01-01T00:00:01.500Z",
        "reason": "HTTP 429: slow down",
        "status": 429,
    }
    assert model_document(SMALL)["closed"] is None


def test_model_as_the_api_shows_it() -> None:
    """Callers see a model's limits, and nothing of where it is."""
    document = model_document(SMALL)
    assert (document["name"], document["limits"]["max_running"]) == ("small", 3)
    assert "gpu" not in str(document)
    assert "org/" not in str(document)
    assert model_document(DEMO)["limits"]["max_running"] is None


def test_key_sees_the_models_that_it_may_name(guarded: Stack) -> None:
    """On the routes of every protocol."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_models"}}
    with guarded.client(headers={"Authorization": f"Bearer {ADMIN}"}) as admin:
        key = admin.post("/admin/keys", json={"owner": "alice", "models": ["other"]}).json()["key"]
        assert [model["name"] for model in admin.get("/models").json()["models"]] == ["demo"]
    with guarded.client(headers={"Authorization": f"Bearer {key}"}) as limited:
        assert limited.get("/models").json()["models"] == []
        assert limited.get("/v1/models").json()["data"] == []
        assert limited.get("/v1/models", headers={"anthropic-version": "2023-06-01"}).json()["data"] == []
        assert [limited.get(path).json()["models"] for path in ("/api/tags", "/api/ps")] == [[], []]
        assert limited.post("/mcp", json=call).json()["result"]["structuredContent"]["models"] == []
