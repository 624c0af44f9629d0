"""Which signals stop a loop, and which do nothing to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from spool.run.signals import StopSignals
from tests.stack import wait_for


def test_signals_that_stop() -> None:
    """Each is noted once it came, and the handlers are put back afterwards."""
    before: Callable[..., object] = signal.getsignal(signal.SIGTERM)  # type: ignore[assignment]
    with StopSignals() as signals:
        for number in (signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
            assert wait_for(signals.take, f"{number.name} is noted") == [number]
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_without_a_meaning() -> None:
    """SIGUSR1 and SIGUSR2 would end the process by default; here they do nothing."""
    with StopSignals() as signals:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            os.kill(os.getpid(), number)
        assert signals.take() == []
