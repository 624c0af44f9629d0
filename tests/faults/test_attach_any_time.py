"""Readers that come at any instant of a job, on every transport, while webs are killed and restarted all the time."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from tests.faults.checker import golden
from tests.faults.crowd import Crowd
from tests.faults.following import Following
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.faults.vitals import broke
from tests.stack import Stack, running_stack, wait_for

INSTANTS = 200
JOBS, TOKENS, RATE = 4, 320, 8
PROMPT = "attach at any time"


class WebsThatComeAndGo(threading.Thread):
    """Kills or stops one web after the other and starts it again, at most one being away at a time."""

    def __init__(self, stack: Stack, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self._chance = chance
        self._over = threading.Event()
        self.restarts = 0

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._over.wait(self._chance.uniform(1, 3)):
            web = self._stack.webs[self.restarts % len(self._stack.webs)]
            if self._chance.random() < 0.5:
                web.kill()
            else:
                web.stop(30)
            web.start()
            wait_for(web.is_ready, f"{web.name} is ready", 60)
            self.restarts += 1

    def stop(self) -> None:
        """Leave all webs running."""
        self._over.set()
        self.join()


def read_whole(crowd: Crowd, texts: list[Following], whole: str) -> int:
    """Bare text has no cursor: who was cut begins again. How many readings it took until each was whole."""
    readings = 0
    while texts:
        readings += len(texts)
        assert crowd.unfinished(120, texts) == []
        assert all(whole.startswith(one.text.decode(errors="ignore")) for one in texts)
        assert all(one.text.decode() == whole for one in texts if one.ended)
        texts = [crowd.follow(one.job, "text") for one in texts if not one.ended]
    return readings


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_attach_at_any_instant(directory: Path) -> None:
    """200 readers on each transport that attach at random instants of their job, with webs that are killed or stopped
    every few seconds: each of them ends with the golden text, byte for byte."""
    seed = int(os.environ.get("SPOOL_FAULTS_SEED") or random.randrange(10**6))
    print(f"seed {seed}")
    chance = random.Random(seed)
    with (
        running_stack(directory, webs=2, workers=1, DRAIN_S=1) as stack,
        Crowd([web.url for web in stack.webs], pause_at_most_s=0.5) as crowd,
    ):
        jobs = Jobs(stack)
        ids = [jobs.submit(PROMPT, tokens=TOKENS, rate=RATE, seed=seed) for _ in range(JOBS)]
        restarts = WebsThatComeAndGo(stack, chance)
        restarts.start()
        try:
            length_s = TOKENS / RATE
            plan = sorted((chance.uniform(0, length_s + 1), name) for name in TRANSPORTS for _ in range(INSTANTS))
            began = time.monotonic()
            for at_s, transport in plan:
                time.sleep(max(0.0, began + at_s - time.monotonic()))
                crowd.follow(chance.choice(ids), transport)
            texts = [one for one in crowd.followings if one.transport == "text"]
            entries = [one for one in crowd.followings if one.transport != "text"]
            assert crowd.unfinished(120, entries) == []
        finally:
            restarts.stop()
        whole = golden(PROMPT, {"tokens": TOKENS, "seed": seed})
        readings = read_whole(crowd, texts, whole)
        assert jobs.violations(crowd.followings) == []
        assert broke(*stack.webs) == []
        measured(
            "attach at 200 random instants, each transport, webs restarted",
            seed=seed,
            readers=len(entries) + INSTANTS,
            restarts=restarts.restarts,
            reconnects=sum(one.reconnects for one in entries),
            readings_of_bare_text=readings,
            wrong=0,
        )
        assert restarts.restarts >= 3
