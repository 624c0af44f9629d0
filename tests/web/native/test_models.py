"""The list of models: their limits, and nothing of their upstreams."""

from __future__ import annotations

from spool.models.model import DEMO, Model
from web.native.models import model_document

SMALL = Model(name="small", backend="openai", upstream="gpu", upstream_model="org/small-1b", max_running=3)


def test_model_as_the_api_shows_it() -> None:
    """Callers see a model's limits, and nothing of where it is."""
    document = model_document(SMALL)
    assert (document["name"], document["limits"]["max_running"]) == ("small", 3)
    assert "gpu" not in str(document)
    assert "org/" not in str(document)
    assert model_document(DEMO)["limits"]["max_running"] is None
