"""A precise timer: any number of greenlets wait for points in time on one kernel timer.

libev rounds each wait up to a whole millisecond and keeps a timer for every greenlet. Here all waiters share one heap.
On Linux an exact timerfd wakes all waiters that are due in one callback.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any, Protocol

from greenlet import getcurrent

from spool import hub
from worker.adaptive_delay import AdaptiveDelay

_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1


class _Alarm(Protocol):
    """Calls back at a monotonic time. Setting it again replaces the time; None disarms it."""

    def set(self, at: float | None) -> None: ...
    def close(self) -> None: ...


class PreciseTimer:
    """The waiters of one hub. The kernel timer is opened at the first wait."""

    def __init__(
        self,
        alarm: Callable[[Callable[[], None]], _Alarm] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_alarm = alarm or (TimerFd if sys.platform == "linux" else LoopTimer)
        self._clock = clock
        self._waiters: list[tuple[float, int, list[Any]]] = []
        """A heap of due time, sequence number and greenlet (in a list, which is emptied when the wait ends early)."""
        self._numbers = count()
        self._set_for = float("inf")
        self._moderation = AdaptiveDelay()
        self._not_before = float("-inf")
        """Earliest next callback: under load, waiters that are due within a short time are woken together."""
        self._switch: Callable[[], Any] | None = None
        self._alarm: _Alarm = _NoAlarm()

    def wait_until(self, due: float) -> bool:
        """Switch to the hub until the clock shows ``due``. Returns False at once if that has passed."""
        if due <= self._clock():
            return False
        switch = self._switch or self._open()
        whose = [getcurrent()]
        heappush(self._waiters, (due, next(self._numbers), whose))
        if due < self._set_for > self._not_before:
            self._set(due)
        try:
            switch()
        finally:
            # If an exception ended the wait, nothing must be woken. The heap drops the empty item when it is due.
            whose.clear()
        return True

    def __len__(self) -> int:
        return sum(bool(whose) for _due, _number, whose in self._waiters)

    def close(self) -> None:
        """Close the kernel timer; the next wait opens a new one."""
        self._alarm.close()
        self._alarm, self._switch = _NoAlarm(), None
        self._set_for = float("inf")

    def _open(self) -> Callable[[], Any]:
        self._switch = hub.switcher()
        self._alarm = self._new_alarm(self._wake)
        return self._switch

    def _set(self, due: float) -> None:
        self._set_for = max(due, self._not_before)
        self._alarm.set(self._set_for)

    def _wake(self) -> None:
        # In the hub. A woken greenlet runs from here until it blocks, and may wait again with a new time.
        now = self._clock()
        # Prevents these new waits from setting the alarm: it is set once at the end.
        self._set_for = float("-inf")
        waiters, woken = self._waiters, 0
        try:
            while waiters and (waiters[0][0] <= now or not waiters[0][2]):
                whose = heappop(waiters)[2]
                if whose:
                    woken += 1
                    whose[0].switch()
        finally:
            self._moderation.add(woken, now)
            self._not_before = now + self._moderation.gap_s
            self._set_for = float("inf")
            if waiters:
                self._set(waiters[0][0])
            else:
                self._alarm.set(None)


class _NoAlarm:
    """The alarm before the first wait."""

    def set(self, at: float | None) -> None:
        """Do nothing: there are no waiters."""

    def close(self) -> None:
        """Do nothing: nothing is open."""


class _Timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class TimerFd:
    """Linux's timerfd. It is never read: setting it to another time, or disarming it, clears its readiness."""

    def __init__(self, wake: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd: int = libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        self._by_reference = ctypes.byref(self._spec)
        self._watcher = hub.readable(self._fd)
        self._watcher.start(wake)

    def set(self, at: float | None) -> None:
        # All zeros would disarm it.
        ns = 0 if at is None else max(1, int(at * 1e9))
        self._spec.value.s, self._spec.value.ns = divmod(ns, 1_000_000_000)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._by_reference, None)

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        os.close(self._fd)


class LoopTimer:
    """The event loop's own timer, for other systems."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._timer: hub.Watcher | None = None

    def set(self, at: float | None) -> None:
        self.close()
        if at is not None:
            self._timer = hub.timer(max(0.0, at - time.monotonic()))
            self._timer.start(self._wake)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
