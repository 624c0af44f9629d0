"""The models that an upstream lists, against a server that lists what a test says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spool.models.model import Model, Upstream
from tests.scripted_upstream import Call, Script, ScriptedUpstream, refuses
from tests.stack import ROOT
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


@pytest.mark.parametrize("unit", [b" ", b'{"id": "a"},'], ids=["blanks", "models"])
def test_discovery_of_an_endless_list_ends(unit: bytes) -> None:
    """A list without an end is read up to a limit, and then fails."""

    def script(call: Call) -> None:
        call.begin(headers={"Content-Type": "application/json"})
        call.send(b'{"data": [')
        while True:
            call.send(unit * 65_536)

    with pytest.raises(BackendError, match="more than") as caught:
        discovered(script)
    assert caught.value.code == "upstream_garbage"


def test_discovery_reads_no_encoded_list() -> None:
    """A small encoded list may decode to a large one: no encoding is asked for, and none is read."""

    def script(call: Call) -> None:
        assert call.headers["accept-encoding"] == "identity"
        call.json(200, {"data": []}, {"Content-Encoding": "gzip"})

    with pytest.raises(BackendError, match="Content-Encoding") as caught:
        discovered(script)
    assert caught.value.code == "upstream_garbage"


def test_discovery_of_a_slow_list_ends() -> None:
    """A list that comes a byte at a time, each within the time for one read, ends with the time for the whole."""

    def script(call: Call) -> None:
        call.begin(headers={"Content-Type": "application/json"})
        while True:
            call.send(b" ")
            call.hold(0.02)

    # As in a worker, where gevent's timeouts interrupt a read.
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys\n"
        "from spool.models.model import Upstream\n"
        "from worker.backends import BackendError\n"
        "from worker.models.discovery import discover\n"
        "try:\n"
        "    discover(Upstream('gpu', sys.argv[1]), total_s=0.2)\n"
        "except BackendError as exc:\n"
        "    print(exc.code, exc.retryable)\n"
    )
    with ScriptedUpstream(script) as upstream:
        argv = [sys.executable, "-c", program, upstream.url]
        found = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=ROOT, check=True)
    assert found.stdout.split() == ["upstream_unavailable", "True"]


def test_deployment_of_azure_is_its_only_model() -> None:
    """Azure lists what could be deployed, so it is not asked: the model is the deployment."""
    with ScriptedUpstream(refuses(500)) as upstream:
        azure = Upstream("gpu", upstream.url, kind="azure", deployment="mine")
        assert [model.name for model in discover(azure)] == ["mine"]
        assert upstream.calls == []
