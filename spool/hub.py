"""gevent's event loop below its documented interface: the only file that uses ``hub.switch`` and ``hub.loop``.

A greenlet for each wait, or an object for each, costs more than the rest of a token. Everything here acts on the hub of
the calling thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gevent.hub import get_hub

_READ = 1


class Watcher(Protocol):
    """Calls back in the hub, where nothing may block. ``close`` it before its file descriptor is closed, or libev
    aborts the process."""

    def start(self, callback: Callable[..., object], *args: Any) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


def switcher() -> Callable[[], Any]:
    """A function that switches from a greenlet to the hub, until something switches back."""
    return get_hub().switch


def readable(fd: int) -> Watcher:
    """A watcher that calls back whenever the file descriptor is readable."""
    watcher: Watcher = get_hub().loop.io(fd, _READ)
    return watcher


def timer(delay_s: float) -> Watcher:
    """A watcher that calls back once, after a time rounded up to milliseconds."""
    watcher: Watcher = get_hub().loop.timer(delay_s)
    return watcher


def wait(watcher: Any) -> None:
    """Switch to the hub until the watcher calls back."""
    get_hub().wait(watcher)


def soon(callback: Callable[..., object], *args: Any) -> None:
    """Call back in the next round of the hub."""
    get_hub().loop.run_callback(callback, *args)


def from_threads() -> Callable[..., object]:
    """A function like ``soon``, for this hub and from any thread."""
    run: Callable[..., object] = get_hub().loop.run_callback_threadsafe
    return run
