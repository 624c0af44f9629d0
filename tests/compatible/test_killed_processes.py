"""The official SDKs while Spool's processes are killed: the same programs as in ``test_side_by_side.py``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.compatible.side_by_side.comparison import CLIENTS, Outcome, Upstream, jobs_of, model_of, run
from tests.compatible.side_by_side.scenarios import KILLS
from tests.compatible.side_by_side.speaker import INPUT_TOKENS, OUTPUT_TOKENS
from tests.stack import Process, Stack, running_stack, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_STARTS_WITHIN_S = 120
"""Loading the clients takes long on a busy machine."""


class Killed:
    """A Spool in which a scenario of ``KILLS`` takes place with all clients. ``process`` is killed once each has what
    the vendor says before it pauses."""

    def __init__(self, stack: Stack, vendor: Upstream) -> None:
        self.stack, self.vendor = stack, vendor

    def run(self, process: Process) -> dict[str, Outcome]:
        """What the clients saw at the first web while ``process`` was killed. A worker is started again."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(run, self.vendor, self.stack.webs[0].url)
            wait_for(self._all_pause, "each client's job pauses", _STARTS_WITHIN_S)
            process.kill()
            if process in self.stack.workers:
                process.start()
            return running.result()

    def go_on(self) -> None:
        """End the vendor's pauses."""
        for answers in self.vendor.answers.values():
            for call in answers.calls:
                call.go_on()

    def _all_pause(self) -> bool:
        return all(answers.calls for answers in self.vendor.answers.values()) and self._has_text()

    def _has_text(self) -> bool:
        jobs = self.stack.client(1).get("/jobs", params={"limit": 100}).json()["jobs"]
        silent = "worker-early" in self.vendor.scenarios
        return silent or sum(job["last_entry"] >= 3 for job in jobs) == len(self.vendor.answers)


@pytest.fixture
def killed(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Killed]:
    """The scenario that the test names."""
    directory = Path(mkdtemp(dir=short_dir))
    models = directory / "models.toml"
    with Upstream(CLIENTS, {request.param: KILLS[request.param]}) as vendor:
        models.write_text(vendor.models_file())
        with running_stack(directory, webs=2, workers=1, MODELS_FILE=models, HEARTBEAT_S=15) as stack:
            yield Killed(stack, vendor)


def assert_whole(outcomes: dict[str, Outcome], name: str) -> None:
    """Each client has the whole answer."""
    for client in CLIENTS:
        seen = outcomes[model_of(client, name)]
        assert (seen["error"], seen["text"]) == (None, "Let me see."), (client, seen)
        assert seen["usage"] == [INPUT_TOKENS, OUTPUT_TOKENS]


@pytest.mark.parametrize("killed", ["worker-early"], indirect=True)
def test_worker_before_the_first_token(killed: Killed) -> None:
    """A worker that dies before the first token is not noticed, and each request stays one job."""
    assert_whole(killed.run(killed.stack.workers[0]), "worker-early")
    assert set(jobs_of(killed.stack).values()) == {1}


@pytest.mark.parametrize("killed", ["worker-later"], indirect=True)
def test_worker_in_the_stream(killed: Killed) -> None:
    """A worker that dies in the stream is an error after the text so far, as a vendor that breaks off is."""
    for model, seen in killed.run(killed.stack.workers[0]).items():
        assert seen["text"] == "Let me ", (model, seen)
        assert seen["error"], (model, seen)
    assert set(jobs_of(killed.stack).values()) == {1}


@pytest.mark.parametrize("killed", ["web"], indirect=True)
def test_web_in_the_stream(killed: Killed) -> None:
    """After the death of a web the same request at another one gets the whole answer of the same job."""
    for model, seen in killed.run(killed.stack.webs[0]).items():
        assert seen["text"] in ("Let me ", ""), (model, seen)
        assert seen["error"], (model, seen)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, killed.vendor, killed.stack.webs[1].url)
        killed.go_on()
        assert_whole(running.result(), "web")
    client = killed.stack.client(1)
    assert {job["status"] for job in client.get("/jobs", params={"limit": 100}).json()["jobs"]} == {"succeeded"}
    assert all(len(answers.calls) == 1 for answers in killed.vendor.answers.values())
