"""gevent's event loop below its documented interface, against the installed version."""

from __future__ import annotations

import os
from threading import Thread

import gevent
from gevent.event import Event
from greenlet import getcurrent

from spool import hub


def test_readable_calls_back_when_bytes_arrive() -> None:
    """A watcher wakes a greenlet that switched to the hub, and not before it is started."""
    reader, writer = os.pipe()
    watcher, waiter = hub.readable(reader), getcurrent()
    try:
        gevent.spawn(os.write, writer, b"x")
        watcher.start(waiter.switch)
        with gevent.Timeout(10):
            hub.switcher()()
        assert os.read(reader, 1) == b"x"
    finally:
        watcher.stop()
        watcher.close()
        os.close(reader)
        os.close(writer)


def test_timer_calls_back_once_with_its_arguments() -> None:
    """A timer may close itself in its callback."""
    calls: list[str] = []
    done = Event()
    timer = hub.timer(0)

    def ring(name: str) -> None:
        calls.append(name)
        timer.close()
        done.set()

    timer.start(ring, "a")
    assert done.wait(60)
    assert calls == ["a"]


def test_wait_returns_when_the_watcher_calls_back() -> None:
    """Other greenlets run meanwhile."""
    ran: list[int] = []
    gevent.spawn(ran.append, 1)
    timer = hub.timer(0)
    hub.wait(timer)
    timer.close()
    assert ran == [1]


def test_callbacks_run_in_the_hub() -> None:
    """Those of this thread, and those of another one, which wake the hub."""
    done = Event()
    seen: list[object] = []

    def note(name: str) -> None:
        seen.append((name, getcurrent() is gevent.get_hub()))
        if len(seen) == 2:
            done.set()

    hub.soon(note, "own")
    run = hub.from_threads()
    other = Thread(target=lambda: run(note, "foreign"))
    other.start()
    assert done.wait(60)
    other.join()
    assert sorted(seen, key=str) == [("foreign", True), ("own", True)]
