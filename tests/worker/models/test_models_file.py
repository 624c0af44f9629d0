"""A models file that changes while a worker runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import gevent
import pytest

from spool.models.model import DEMO, Model
from spool.models.table import ModelTable
from spool.redis.link import RedisLink
from spool.settings import Settings
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import wait_for
from tests.talking_model import TalkingModel
from worker.backends import Backend, BackendError, GenerationRequest, Text
from worker.backends.demo.backend import Demo
from worker.models.continuation import Provings
from worker.models.models_file import ModelsFile, use_upstreams

PROVEN = "spool:{0}:proven-models"


@dataclass
class Scene:
    """The parts of a worker that follow the file, and two upstreams."""

    path: Path
    file: ModelsFile
    table: ModelTable
    backends: dict[str, Backend]
    first: ScriptedUpstream
    second: ScriptedUpstream

    def write(self, upstream: ScriptedUpstream, *models: str) -> None:
        """Change the file, at another time than before, and let the worker look at it."""
        before = self.path.stat().st_mtime_ns
        entries = (f"[[upstream.model]]\n{model}\n" for model in models)
        self.path.write_text(f'[[upstream]]\nname = "gpu"\nurl = "{upstream.url}"\n{"".join(entries)}')
        os.utime(self.path, ns=(before + 1_000_000, before + 1_000_000))
        self.file.look()

    def ask(self, name: str) -> str:
        """The answer of a model."""
        request = GenerationRequest("j", self.table.get(name), [{"role": "user", "content": "x"}])
        pieces = self.backends["openai"].generate(request)
        return "".join(piece.text for piece in pieces if isinstance(piece, Text))


@pytest.fixture
def scene(link: RedisLink, tmp_path: Path) -> Iterator[Scene]:
    """A worker that began with an empty file."""
    path = tmp_path / "models.toml"
    path.write_text("")
    settings = Settings.read({"SPOOL_MODELS_FILE": str(path)})
    table, backends = ModelTable(link, [DEMO], []), dict[str, Backend](demo=Demo())
    provings = Provings(backends, table)
    with ExitStack() as exits:
        first, second = (exits.enter_context(ScriptedUpstream(TalkingModel())) for _ in range(2))
        file = ModelsFile(settings.reread_upstreams(), settings.models_of, table, backends, provings)
        yield Scene(path, file, table, backends, first, second)
        provings.configure([])
        # Closes what was opened.
        use_upstreams(backends, [])


def test_upstream_that_is_added(scene: Scene) -> None:
    """Its models can be claimed, and answer; the limits of a model are those of the file."""
    scene.write(scene.first, 'name = "small"\nmax_running = 3')
    assert [(model.name, model.max_running) for model in scene.table.all()] == [("small", 3), ("demo", 0)]
    assert scene.ask("small")
    scene.write(scene.first, 'name = "small"\nmax_running = 4\nrpm = 60')
    assert (scene.table.get("small").max_running, scene.table.get("small").rpm) == (4, 60)


def test_upstream_that_moves(scene: Scene) -> None:
    """Calls go to the new server; an upstream that stays keeps what is known of it, whatever its models are."""
    scene.write(scene.first, 'name = "small"')
    scene.ask("small")
    link = scene.backends["openai"]._links["gpu"]  # type: ignore[attr-defined]
    scene.write(scene.first, 'name = "small"', 'name = "large"')
    assert scene.backends["openai"]._links["gpu"] is link  # type: ignore[attr-defined]
    assert (len(scene.first.calls), len(scene.second.calls)) == (1, 0)
    scene.write(scene.second, 'name = "small"')
    scene.ask("small")
    assert (len(scene.first.calls), len(scene.second.calls)) == (1, 1)


def test_upstream_that_is_removed(scene: Scene) -> None:
    """An attempt that has just been claimed fails so that it may be tried again elsewhere."""
    scene.write(scene.first, 'name = "small"')
    removed = scene.table.get("small")
    scene.path.write_text("")
    scene.file.look()
    assert scene.table.all() == [DEMO]
    with pytest.raises(BackendError) as caught:
        list(scene.backends["openai"].generate(GenerationRequest("j", removed, [])))
    assert (caught.value.code, caught.value.retryable) == ("upstream_unknown", True)


def test_model_that_is_to_continue(scene: Scene, link: RedisLink) -> None:
    """A model that the file gives a style is probed, and its result is published."""
    scene.write(scene.first, 'name = "small"\ncontinue = "vllm"')
    wait_for(lambda: gevent.sleep(0) or link.call("HEXISTS", PROVEN, "small"), "the model is proven")
    assert scene.table.get("small") == Model("small", "openai", "gpu", "small", continue_style="vllm", continues=True)


def test_file_with_an_error(scene: Scene) -> None:
    """The worker goes on with the last valid file."""
    scene.write(scene.first, 'name = "small"')
    scene.write(scene.second, 'name = "small"\nmax_runing = 3')
    assert [model.name for model in scene.table.all()] == ["small", "demo"]
    assert scene.ask("small")
    assert (len(scene.first.calls), len(scene.second.calls)) == (1, 0)
