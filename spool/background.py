"""What runs beside the requests and jobs of a process, for as long as it lives."""

from __future__ import annotations

import gc
import logging
import resource
from collections.abc import Callable
from contextlib import suppress

import gevent
from gevent.greenlet import Greenlet

log = logging.getLogger("spool.background")

_AGAIN_S = 1.0


def spawn_forever(run: Callable[[], None]) -> Greenlet[..., None]:
    """Run ``run`` in a greenlet, and again if it breaks: one bug must not end for ever what all streams of a process
    depend on. What it waits out by itself never gets here, so each break is logged in full."""

    def guarded() -> None:
        while True:
            try:
                run()
            except Exception:
                log.exception("%s broke; it is started again", getattr(run, "__qualname__", run))
                gevent.sleep(_AGAIN_S)
            else:
                return

    return gevent.spawn(guarded)


def keep_out_of_collection() -> None:
    """Leave what there is now, modules and tables that live as long as the process, out of the searches for cycles:
    going through all of it takes tens of milliseconds, in which no token moves. To be called once all is loaded."""
    gc.collect()
    gc.freeze()


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have: every stream is one, and the usual default is 1,024."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says "unlimited" and refuses it.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
