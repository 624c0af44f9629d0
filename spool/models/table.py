"""The model table at runtime: the static models, plus what workers publish in Redis.

Workers publish the models that an upstream serves, and whether a configured model does continue partial answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import orjson
from gevent.lock import RLock

from spool.errors import NoModel, StoreUnavailable, UnknownModel
from spool.keys import HOME, prefix
from spool.models.model import Model
from spool.redis.link import RedisLink

_KEY = f"{prefix(HOME)}model-table"
_PROVEN_KEY = f"{prefix(HOME)}proven-models"
_FRESH_S = 5.0
_NAMED_AT_MOST = 20


class ModelTable:
    """Models by name.

    ``static`` models come from the settings. For the ``upstreams``, workers publish the models that they discover.
    ``default`` is the model of a job that names none; empty: the first model of the table.
    """

    def __init__(
        self, link: RedisLink, static: Iterable[Model], upstreams: Sequence[str] = (), default: str = ""
    ) -> None:
        self._link = link
        self._reading = RLock()
        self._default = default
        self._discovered: dict[str, Model] = {}
        self._listed: Sequence[Model] | None = None
        self.configure(static, upstreams)

    def configure(self, static: Iterable[Model], upstreams: Sequence[str]) -> None:
        """Replace the static models and the upstreams: the models file has changed. Models that were discovered at
        upstreams that are gone leave the table."""
        with self._reading:
            self._static = {model.name: model for model in static}
            self._to_verify = [model.name for model in self._static.values() if model.continue_style]
            self._upstreams = list(upstreams)
            self._discovered = {name: one for name, one in self._discovered.items() if one.upstream in upstreams}
            self._read_at, self._listed = float("-inf"), None

    def get(self, name: str | None) -> Model:
        """The model of that name; the default model without a name. An unknown name is first looked up in Redis.
        Raises ``UnknownModel``; without a name also ``NoModel``."""
        if name is None:
            return self.default()
        if name in self._to_verify:
            # A model from the settings is usable even if Redis cannot be read.
            with suppress(StoreUnavailable):
                self._refresh(at_least_s=_FRESH_S)
        model = self._static.get(name) or self._discovered.get(name)
        if model is None:
            self._refresh(at_least_s=0.2)
            model = self._discovered.get(name)
        if model is None:
            raise UnknownModel(name, [known.name for known in self.all()][:_NAMED_AT_MOST])
        return model

    def max_running(self, name: str) -> int:
        """The limit of running jobs of a model, as last known; 0 for none. Never reads Redis."""
        model = self._static.get(name) or self._discovered.get(name)
        return model.max_running if model else 0

    def default(self) -> Model:
        """The model of a job that names none. Raises ``NoModel`` if no model is known yet, and ``UnknownModel``."""
        if self._default:
            return self.get(self._default)
        models = self.all()
        if not models:
            raise NoModel
        return models[0]

    def all(self) -> list[Model]:
        """All models, those of upstreams before the demo."""
        self._refresh(at_least_s=_FRESH_S)
        if self._listed is None:
            # Each claim of a worker asks for it.
            merged = {**self._discovered, **self._static}
            self._listed = sorted(merged.values(), key=lambda model: model.backend == "demo")
        return list(self._listed)

    def publish(self, upstream: str, models: Iterable[Model]) -> None:
        """Publish the models discovered at an upstream to all processes, replacing its earlier ones. Raises
        ``StoreUnavailable``."""
        self._link.call("HSET", _KEY, upstream, orjson.dumps([model.to_dict() for model in models]))
        self._read_at = float("-inf")

    def publish_proof(self, model: Model, joins: bool) -> None:
        """Publish whether a model continues a partial answer with its configured style (``joins``). Raises
        ``StoreUnavailable``."""
        if joins:
            self._link.call("HSET", _PROVEN_KEY, model.name, _verified_config(model))
        else:
            self._link.call("HDEL", _PROVEN_KEY, model.name)
        self._read_at = float("-inf")

    def _refresh(self, at_least_s: float) -> None:
        """Read the published part again, unless it was read less than ``at_least_s`` ago. While Redis is unreachable,
        the last known part stays. Raises ``StoreUnavailable`` if none was ever read."""
        with self._reading:
            if not self._upstreams or time.monotonic() - self._read_at < at_least_s:
                return
            try:
                published = self._link.call("HMGET", _KEY, *self._upstreams)
                verified = self._link.call("HMGET", _PROVEN_KEY, *self._to_verify) if self._to_verify else []
            except StoreUnavailable:
                if self._read_at == float("-inf") and not self._discovered:
                    raise
                return
            listed = [Model.from_dict(item) for raw in published if raw for item in orjson.loads(raw)]
            # If several upstreams serve a name, the first one gets it.
            self._discovered = {model.name: model for model in reversed(listed)}
            self._discovered = {model.name: self._discovered[model.name] for model in listed}
            for name, config in zip(self._to_verify, verified, strict=True):
                model = self._static[name]
                self._static[name] = replace(model, continues=config == _verified_config(model).encode())
            self._read_at, self._listed = time.monotonic(), None


def _verified_config(model: Model) -> str:
    """The configuration that a verification applies to. It makes a verification of an earlier configuration invalid."""
    return f"{model.continue_style} {model.upstream} {model.upstream_model}"
