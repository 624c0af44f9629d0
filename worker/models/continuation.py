"""Verifies and publishes which models continue partial answers.

Each model that is configured to continue is probed when the worker starts, and again after its upstream was away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, cast

import gevent
from gevent.greenlet import Greenlet

from spool.background import spawn_forever
from spool.deadline import Deadline
from spool.errors import StoreUnavailable
from spool.models.model import Model
from spool.models.table import ModelTable
from worker.backends import Backend, BackendError
from worker.backends.openai.continuation_probe import Proof

if TYPE_CHECKING:
    from worker.backends.openai.backend import OpenAICompatible

log = logging.getLogger("spool.upstream")

_AGAIN_S = 2.0
"""First delay while the upstream or Redis is away; it doubles each time, up to ``_LOOK_S``."""
_LOOK_S = 60.0
_DISPROVED_S = 600.0
"""Delay before a failed model is probed again: its server may have been reconfigured."""
_PROBE_S = 60.0
_WAIT_S = 10.0
"""Longest wait of a probe for an upstream that refuses."""


class Provings:
    """Probes and publishes each model that is configured to continue, while the process lives."""

    def __init__(self, backends: Mapping[str, Backend], table: ModelTable) -> None:
        self._backends = backends
        self._table = table
        self._running: dict[Model, Greenlet[..., None]] = {}

    def configure(self, models: Iterable[Model]) -> None:
        """Probe these of the ``models``, and no others."""
        backend = self._backends.get("openai")
        wanted = {} if backend is None else {model: backend for model in models if model.continue_style}
        for model in self._running.keys() - wanted.keys():
            self._running.pop(model).kill(block=False)
        for model in wanted.keys() - self._running.keys():
            proving = Proving(model, cast("OpenAICompatible", backend), self._table)
            self._running[model] = spawn_forever(partial(proving.run, gevent.sleep))


class Proving:
    """Probes one model and publishes the result."""

    def __init__(self, model: Model, backend: OpenAICompatible, table: ModelTable) -> None:
        self._model = model
        self._backend = backend
        self._table = table
        self._published: Proof | None = None
        self._failed = ""
        self._again_s = _AGAIN_S

    def run(self, sleep: Callable[[float], None]) -> None:
        """Call ``look`` for ever."""
        while True:
            sleep(self.look())

    def look(self) -> float:
        """Probe if the proof is missing or old, publish if the result changed. Returns the seconds until the next
        call."""
        try:
            proof = self._backend.proof(self._model)
            if proof is None or (not proof.joins and proof.age_s > _DISPROVED_S):
                proof = self._prove()
            self._publish(proof)
        except (BackendError, StoreUnavailable) as exc:
            if str(exc) != self._failed:
                self._failed = str(exc)
                log.warning("model %s: cannot check whether it continues partial answers: %s", self._model.name, exc)
            self._again_s = min(_LOOK_S, self._again_s * 2)
            return self._again_s / 2
        self._failed, self._again_s = "", _AGAIN_S
        return _LOOK_S

    def _prove(self) -> Proof:
        proving = self._backend.prove(self._model, Deadline.after(_WAIT_S))
        with closing(proving), gevent.Timeout(_PROBE_S, False):  # type: ignore[arg-type]
            while True:
                try:
                    next(proving)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
        raise BackendError("upstream_unavailable", f"no answer within {_PROBE_S:g} s", retryable=True)

    def _publish(self, proof: Proof) -> None:
        is_news = proof is not self._published
        # Publish a verified result again if Redis has lost it.
        if is_news or (proof.joins and not self._table.get(self._model.name).continues):
            self._table.publish_proof(self._model, proof.joins)
        if is_news and proof.joins:
            log.info("model %s continues partial answers", self._model.name)
        elif is_news:
            log.warning("model %s does not continue partial answers: %s", self._model.name, proof.seen)
        self._published = proof
