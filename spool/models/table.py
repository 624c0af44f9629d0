"""The model table as a program reads it: the static part, and what workers found out and published in Redis: which
models an upstream serves, and which of those that are to go on from a partial answer do so."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import orjson
from gevent.lock import RLock

from spool.errors import NoModel, StoreUnavailable, UnknownModel
from spool.keys import prefix
from spool.models.model import Model
from spool.redis.link import RedisLink

_KEY = f"{prefix(0)}model-table"
_PROVEN_KEY = f"{prefix(0)}proven-models"
_FRESH_S = 5.0
_NAMED_AT_MOST = 20


class ModelTable:
    """Models by name. ``static`` are known from the settings; of the ``upstreams`` named, workers publish what they
    discovered. ``default`` is the name that a job without one gets; empty: the first there is."""

    def __init__(
        self, link: RedisLink, static: Iterable[Model], upstreams: Sequence[str] = (), default: str = ""
    ) -> None:
        self._link = link
        self._static = {model.name: model for model in static}
        self._to_prove = [model.name for model in self._static.values() if model.continue_style]
        self._upstreams = list(upstreams)
        self._reading = RLock()
        self._default = default
        self._discovered: dict[str, Model] = {}
        self._read_at = float("-inf")

    def get(self, name: str | None) -> Model:
        """The model of that name, or the default one. Raises ``UnknownModel``; a name that is not known yet is
        looked up in Redis first. Without a name also ``NoModel``."""
        if name is None:
            return self.default()
        if name in self._to_prove:
            # What is in the settings can be asked whether or not Redis says more about it.
            with suppress(StoreUnavailable):
                self._refresh(at_least_s=_FRESH_S)
        model = self._static.get(name) or self._discovered.get(name)
        if model is None:
            self._refresh(at_least_s=0.2)
            model = self._discovered.get(name)
        if model is None:
            raise UnknownModel(name, [known.name for known in self.all()][:_NAMED_AT_MOST])
        return model

    def default(self) -> Model:
        """The model of a job that names none. Raises ``NoModel`` if there is none yet, and ``UnknownModel``."""
        if self._default:
            return self.get(self._default)
        models = self.all()
        if not models:
            raise NoModel
        return models[0]

    def all(self) -> list[Model]:
        """Every model, upstreams' before the demo."""
        self._refresh(at_least_s=_FRESH_S)
        merged = {**self._discovered, **self._static}
        return sorted(merged.values(), key=lambda model: model.backend == "demo")

    def publish(self, upstream: str, models: Iterable[Model]) -> None:
        """Make what was discovered at an upstream known to every program, in place of what was known of it. Raises
        ``StoreUnavailable``."""
        self._link.call("HSET", _KEY, upstream, orjson.dumps([model.to_dict() for model in models]))
        self._read_at = float("-inf")

    def publish_proof(self, model: Model, joins: bool) -> None:
        """Make known whether a model goes on from a partial answer, when it is asked to in the style that is set.
        Raises ``StoreUnavailable``."""
        if joins:
            self._link.call("HSET", _PROVEN_KEY, model.name, _what_is_proven(model))
        else:
            self._link.call("HDEL", _PROVEN_KEY, model.name)
        self._read_at = float("-inf")

    def _refresh(self, at_least_s: float) -> None:
        """Read again what was published, unless that was done just now. While Redis is away, what was known stays
        known; raises ``StoreUnavailable`` if nothing ever was."""
        with self._reading:
            if not self._upstreams or time.monotonic() - self._read_at < at_least_s:
                return
            try:
                published = self._link.call("HMGET", _KEY, *self._upstreams)
                proven = self._link.call("HMGET", _PROVEN_KEY, *self._to_prove) if self._to_prove else []
            except StoreUnavailable:
                if self._read_at == float("-inf") and not self._discovered:
                    raise
                return
            listed = [Model.from_dict(item) for raw in published if raw for item in orjson.loads(raw)]
            # The first upstream that serves a name has it.
            self._discovered = {model.name: model for model in reversed(listed)}
            self._discovered = {model.name: self._discovered[model.name] for model in listed}
            for name, proof in zip(self._to_prove, proven, strict=True):
                model = self._static[name]
                self._static[name] = replace(model, continues=proof == _what_is_proven(model).encode())
            self._read_at = time.monotonic()


def _what_is_proven(model: Model) -> str:
    """Names what a proof is about, so that one for what was configured before is none."""
    return f"{model.continue_style} {model.upstream} {model.upstream_model}"
