"""What runs beside the requests and jobs of a process, for as long as it lives."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable
from contextlib import suppress

import gevent
from gevent.greenlet import Greenlet

from spool.breaks import STEADY_S, Breaks

_AGAIN_S = 1.0
_FULL_AFTER = 100
"""Searches of the middle generation before one of everything; each has seen some 8,000 more objects come than go."""
_WORTH = 5
_QUIET_S = 5.0


def spawn_forever(run: Callable[[], None]) -> Greenlet[..., None]:
    """Run ``run`` in a greenlet, and again if it breaks: one bug must not end for ever what all streams of a process
    depend on. What it waits out by itself never gets here; a break is logged in full, the same one again is counted."""
    breaks = Breaks(getattr(run, "__qualname__", repr(run)))

    def guarded() -> None:
        while True:
            try:
                run()
            except Exception as exc:  # noqa: BLE001 - whatever it was
                breaks.broke(exc)
                gevent.sleep(_AGAIN_S)
                # Until it breaks again, or does not.
                gevent.spawn_later(STEADY_S, breaks.look)
            else:
                return

    return gevent.spawn(guarded)


def collect_rarely(is_quiet: Callable[[], bool]) -> None:
    """Let the searches for cycles hold up as little as they can. To be called once all is loaded, in the hub's thread.

    One through everything that lives takes 30 to 90 ms with a thousand jobs or streams, in which no token moves. What
    there is now, modules and tables that live as long as the process, is left out of them for good; they are made
    while it ``is_quiet``, and otherwise ten times more rarely than Python would.
    """
    gc.collect()
    gc.freeze()
    young, middle, _old = gc.get_threshold()
    gc.set_threshold(young, middle, _FULL_AFTER)
    spawn_forever(lambda: _collect_now_and_then(is_quiet))


def _collect_now_and_then(is_quiet: Callable[[], bool]) -> None:
    while True:
        gevent.sleep(_QUIET_S)
        collect_if(is_quiet)


def collect_if(is_quiet: Callable[[], bool]) -> None:
    """Search through everything, if enough has come since the last time and this is a good moment."""
    if gc.get_count()[2] >= _WORTH and is_quiet():
        gc.collect()


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have: every stream is one, and the usual default is 1,024."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says "unlimited" and refuses it.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
