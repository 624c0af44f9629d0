"""Background work of a process: greenlets that run for ever, garbage collection, freed memory, and the limit of open
files."""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Callable
from contextlib import suppress

import gevent
from gevent.greenlet import Greenlet

from spool.repeated_errors import STEADY_S, Breaks

_AGAIN_S = 1.0
_FULL_AFTER = 100
"""Collections of the middle generation before a full one; about 8,000 more objects were created than freed in each."""
_WORTH = 5
_QUIET_S = 5.0
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 256 * 1024


def spawn_forever(run: Callable[[], None]) -> Greenlet[..., None]:
    """Run ``run`` in a greenlet, and restart it after an unexpected error: one bug must not end a loop that all streams
    of a process depend on. Expected errors are handled in ``run``. An error is logged in full once, then counted."""
    breaks = Breaks(getattr(run, "__qualname__", repr(run)))

    def guarded() -> None:
        while True:
            try:
                run()
            except Exception as exc:  # noqa: BLE001 - whatever it was
                breaks.broke(exc)
                gevent.sleep(_AGAIN_S)
                # Logs the recovery unless it breaks again.
                gevent.spawn_later(STEADY_S, breaks.look)
            else:
                return

    return gevent.spawn(guarded)


def collect_rarely(is_quiet: Callable[[], bool]) -> None:
    """Reduce the pauses of garbage collection. Call it in the hub's thread once everything is loaded. The collector
    may be disabled until then.

    With a thousand jobs or streams, a full collection takes 30 to 90 ms, in which no token moves. The objects that
    exist now (modules and tables that live as long as the process) are excluded for good. Full collections run while
    the process ``is_quiet``, and otherwise ten times more rarely than Python's default.
    """
    gc.collect()
    gc.freeze()
    young, middle, _old = gc.get_threshold()
    gc.set_threshold(young, middle, _FULL_AFTER)
    gc.enable()
    spawn_forever(lambda: _collect_now_and_then(is_quiet))


def return_large_blocks() -> None:
    """Make glibc return freed blocks of 256 KiB and more to the system. Does nothing with another C library.

    After the first such block is freed, glibc takes blocks of its size from the heap. Bodies of a megabyte then leave
    holes between longer-lived objects, and these stay with the process: up to as much as the bodies themselves.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _collect_now_and_then(is_quiet: Callable[[], bool]) -> None:
    while True:
        gevent.sleep(_QUIET_S)
        collect_if(is_quiet)


def collect_if(is_quiet: Callable[[], bool]) -> None:
    """Run a full collection if enough objects were created since the last one and the process is quiet."""
    if gc.get_count()[2] >= _WORTH and is_quiet():
        gc.collect()


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard limit: every stream needs one, and the usual default is 1,024."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports "unlimited" and then refuses it.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
