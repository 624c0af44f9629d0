"""Follows the models file: a change holds from the next claim, and calls under way end as they began."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import gevent

from spool.models.model import Model, Upstream
from spool.models.table import ModelTable
from spool.reread_file import RereadFile
from worker.backends import Backend
from worker.models.continuation import Provings

LOOK_S = 2.0


def use_upstreams(backends: dict[str, Backend], upstreams: Sequence[Upstream]) -> None:
    """Make the backend for upstreams use these. It is created for the first one."""
    # Imported here: the SDK takes as long to import as everything else together.
    if "openai" in backends:
        from worker.backends.openai.backend import OpenAICompatible

        cast(OpenAICompatible, backends["openai"]).configure(upstreams)
    elif upstreams:
        from worker.backends.openai.backend import OpenAICompatible

        backends["openai"] = OpenAICompatible(upstreams)


class ModelsFile:
    """Applies the models file to the parts of a worker process. ``models_of`` are the models known with upstreams."""

    def __init__(
        self,
        file: RereadFile[tuple[Upstream, ...]],
        models_of: Callable[[tuple[Upstream, ...]], tuple[Model, ...]],
        table: ModelTable,
        backends: dict[str, Backend],
        provings: Provings,
    ) -> None:
        self._file = file
        self._models_of = models_of
        self._table = table
        self._backends = backends
        self._provings = provings

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """The upstreams as the file last said."""
        return self._file.content

    def run(self, sleep: Callable[[float], object] = gevent.sleep) -> None:
        """Probe the models that are configured to continue, and look at the file for ever."""
        self._provings.configure(self._models_of(self.upstreams))
        while True:
            sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Apply the file, if it has changed."""
        if not self._file.look():
            return
        upstreams = self.upstreams
        # The backend first: a claim must find it for each model that the table has.
        use_upstreams(self._backends, upstreams)
        self._table.configure(self._models_of(upstreams), [upstream.name for upstream in upstreams])
        self._provings.configure(self._models_of(upstreams))
