"""What a worker finds out about its models' going on from a partial answer, and tells everybody."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import gevent
import pytest

from spool.models.model import DEMO, Model, Upstream
from spool.models.table import ModelTable
from spool.redis.link import RedisLink
from tests.scripted_upstream import ScriptedUpstream, refuses
from tests.talking_model import TalkingModel, age_proofs
from worker.backends import GenerationRequest
from worker.backends.demo.backend import Demo
from worker.backends.openai.backend import OpenAICompatible
from worker.backends.openai.backoff import Backoff
from worker.models.continuation import Proving, Provings

MODEL = Model(name="small", backend="openai", upstream="gpu", continue_style="vllm")
TABLE_KEY = "spool:{0}:proven-models"


@dataclass
class Scene:
    """A worker's prover, its upstream, and the tables of a worker and a web."""

    upstream: ScriptedUpstream
    backend: OpenAICompatible
    proving: Proving
    link: RedisLink

    @property
    def continues(self) -> bool:
        """What a web that starts now is told."""
        return ModelTable(self.link, [MODEL, DEMO], ["gpu"]).get("small").continues


@pytest.fixture
def scene(link: RedisLink) -> Iterator[Scene]:
    """With a model that joins."""
    with (
        ScriptedUpstream(TalkingModel()) as upstream,
        closing(
            OpenAICompatible([Upstream("gpu", upstream.url)], backoff=Backoff(first_s=0.01, most_s=0.02))
        ) as backend,
    ):
        table = ModelTable(link, [MODEL, DEMO], ["gpu"])
        yield Scene(upstream, backend, Proving(MODEL, backend, table), link)


def test_model_is_proven_once(scene: Scene) -> None:
    """The first look asks the upstream and publishes what it saw; later ones ask nothing."""
    assert not scene.continues
    assert scene.proving.look() > 10
    assert scene.continues
    asked = len(scene.upstream.calls)
    assert asked == 4
    scene.proving.look()
    assert len(scene.upstream.calls) == asked


def test_model_that_does_not_join(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """What was seen instead is logged, once, and the model is not published as one that continues."""
    scene.upstream.scripts[:] = [TalkingModel("greets")]
    for _ in range(2):
        scene.proving.look()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "model small does not continue partial answers: it did not continue" in warnings[0]
    assert "'Sure! " in warnings[0]
    assert not scene.continues


def test_upstream_that_is_away_at_start(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """While the upstream refuses it is looked at again soon, then more rarely, logged once; then it is proven."""
    scene.backend.close()
    refusing = Backoff(first_s=60, most_s=60)
    with closing(OpenAICompatible([Upstream("gpu", scene.upstream.url)], backoff=refusing)) as backend:
        proving = Proving(MODEL, backend, ModelTable(scene.link, [MODEL], ["gpu"]))
        scene.upstream.scripts[:] = [refuses(503)]
        pauses = [proving.look() for _ in range(3)]
        assert pauses[0] < 5
        assert pauses == sorted(set(pauses))
        assert sum("cannot check whether it continues" in record.getMessage() for record in caplog.records) == 1
        assert not scene.continues
    scene.upstream.scripts[:] = [TalkingModel()]
    scene.proving.look()
    assert scene.continues


def test_upstream_that_comes_back_as_another_server(scene: Scene) -> None:
    """After the upstream has been away it is asked again, and what no longer holds is taken back."""
    scene.proving.look()
    away, back = refuses(502), TalkingModel("begins anew")
    scene.upstream.scripts[:] = [*[away] * (len(scene.upstream.calls) + 1), back]
    list(scene.backend.generate(GenerationRequest("j", MODEL, [{"role": "user", "content": "x"}])))
    scene.proving.look()
    assert not scene.continues


def test_proof_that_redis_lost(scene: Scene) -> None:
    """What is proven is published again where Redis has forgotten it."""
    scene.proving.look()
    scene.link.call("DEL", TABLE_KEY)
    assert not scene.continues
    table = ModelTable(scene.link, [MODEL], ["gpu"])
    Proving(MODEL, scene.backend, table).look()
    assert scene.continues


def test_model_that_was_set_right(scene: Scene) -> None:
    """What did not join is asked again after a while."""
    scene.upstream.scripts[:] = [TalkingModel("greets")]
    scene.proving.look()
    scene.upstream.scripts[:] = [TalkingModel()]
    scene.proving.look()
    assert not scene.continues
    age_proofs(scene.backend, 3600)
    scene.proving.look()
    assert scene.continues


def test_models_that_are_not_to_continue(scene: Scene) -> None:
    """Without ``continue``, or without upstreams, nobody is asked anything."""
    table = ModelTable(scene.link, [DEMO], [])
    Provings({"openai": scene.backend}, table).configure([Model(name="m", backend="openai", upstream="gpu"), DEMO])
    Provings({"demo": Demo()}, table).configure([MODEL])
    gevent.sleep(0)
    assert scene.upstream.calls == []
