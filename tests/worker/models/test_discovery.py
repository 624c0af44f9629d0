"""The models that an upstream lists, against a server that lists what a test says."""

from __future__ import annotations

import pytest

from spool.models.model import Model, Upstream
from tests.scripted_upstream import Call, Script, ScriptedUpstream, refuses
from worker.backends import BackendError
from worker.models.discovery import MAX_MODELS, discover

SECRET = "sk-very-secret-0123456789"


def lists(*names: object) -> Script:
    return lambda call: call.json(200, {"object": "list", "data": [{"id": n} for n in names]})


def discovered(script: Script) -> tuple[Model, ...]:
    with ScriptedUpstream(script) as upstream:
        return discover(Upstream("gpu", upstream.url, api_key=SECRET))


def breaks_before_headers(call: Call) -> None:
    call.drop()


def test_discovery_names_models_as_the_server_does() -> None:
    """Each listed model once, under the server's name, routed to its upstream."""
    assert discovered(lists("org/a", "b", "org/a")) == (
        Model(name="org/a", backend="openai", upstream="gpu", upstream_model="org/a"),
        Model(name="b", backend="openai", upstream="gpu", upstream_model="b"),
    )


def test_discovery_of_too_many_is_bounded() -> None:
    """A server that resells thousands of models does not fill the model table."""
    assert len(discovered(lists(*range(10), *map(str, range(2000))))) == MAX_MODELS


@pytest.mark.parametrize(
    ("script", "code", "retryable"),
    [
        (refuses(401, f"bad key {SECRET}"), "upstream_rejected", False),
        (refuses(503), "upstream_unavailable", True),
        (breaks_before_headers, "upstream_unavailable", True),
        (lambda call: call.json(200, {"models": []}), "upstream_garbage", True),
        (lambda call: call.json(200, [1]), "upstream_garbage", True),
    ],
)
def test_discovery_that_fails_says_how(script: Script, code: str, retryable: bool) -> None:
    """Discovery asks once and fails the way that generating does."""
    with pytest.raises(BackendError) as caught:
        discovered(script)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert SECRET not in caught.value.message


def test_deployment_of_azure_is_its_only_model() -> None:
    """Azure lists what could be deployed, so it is not asked: the model is the deployment."""
    with ScriptedUpstream(refuses(500)) as upstream:
        azure = Upstream("gpu", upstream.url, kind="azure", deployment="mine")
        assert [model.name for model in discover(azure)] == ["mine"]
        assert upstream.calls == []
