"""The model table as a program reads it: the static part, and what workers discovered and published in Redis."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import orjson
from gevent.lock import RLock

from spool.errors import StoreUnavailable, UnknownModel
from spool.keys import prefix
from spool.models import Model
from spool.redis_link import RedisLink

_KEY = f"{prefix(0)}model-table"
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
        self._upstreams = list(upstreams)
        self._reading = RLock()
        self._default = default
        self._discovered: dict[str, Model] = {}
        self._read_at = float("-inf")

    def get(self, name: str | None) -> Model:
        """The model of that name, or the default one. Raises ``UnknownModel``; a name that is not known yet is
        looked up in Redis first."""
        if name is None:
            return self.default()
        model = self._static.get(name) or self._discovered.get(name)
        if model is None:
            self._refresh(at_least_s=0.2)
            model = self._discovered.get(name)
        if model is None:
            raise UnknownModel(name, [known.name for known in self.all()][:_NAMED_AT_MOST])
        return model

    def default(self) -> Model:
        """What is asked when nobody says what."""
        return self.get(self._default) if self._default else self.all()[0]

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

    def _refresh(self, at_least_s: float) -> None:
        """Read again what was published, unless that was done just now. While Redis is away, what was known stays
        known; raises ``StoreUnavailable`` if nothing ever was."""
        with self._reading:
            if not self._upstreams or time.monotonic() - self._read_at < at_least_s:
                return
            try:
                published = self._link.call("HMGET", _KEY, *self._upstreams)
            except StoreUnavailable:
                if self._read_at == float("-inf") and not self._discovered:
                    raise
                return
            listed = [Model.from_dict(item) for raw in published if raw for item in orjson.loads(raw)]
            # The first upstream that serves a name has it.
            self._discovered = {model.name: model for model in reversed(listed)}
            self._discovered = {model.name: self._discovered[model.name] for model in listed}
            self._read_at = time.monotonic()
