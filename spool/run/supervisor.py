"""The supervisor: keeps programs running, and stops them in order. Standard library only, one thread, no gevent.

Programs are grouped in stages. A stage starts once every program of the stage before is ready, and stops once every
program of the stage after has ended. So the Redis server starts first and stops last.

    start: stage 0 ─ready▶ stage 1 ─ready▶ on_ready()
    stop:  stage 1 SIGTERM … (SIGKILL) ─ended▶ stage 0 SIGTERM … ─ended▶ exit
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from spool.run.console import Console
from spool.run.process import Child, Program
from spool.run.signals import StopSignals

NAME = "spool"
"""The supervisor's own name in the output."""

_PROBE_S = 0.02
_PROBE_AGAIN_S = 0.5
_SAME_WISH_S = 0.5
"""Signals within this time count as one request: a signal to the process group arrives directly and through make."""


class Supervisor:
    """Runs ``stages`` until a stop signal. ``on_ready`` is called once, when everything is ready."""

    def __init__(
        self,
        stages: Sequence[Sequence[Program]],
        console: Console,
        on_ready: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages = [[Child(program, clock) for program in stage] for stage in stages]
        self._console = console
        self._on_ready = on_ready
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._stage = -1
        """The last started stage; during a stop, the stage that is being stopped."""
        self._stage_since = 0.0
        self._all_ready = False
        self._stopping = False
        self._stopping_since = 0.0
        self._kill_at: dict[str, float] = {}
        self._exit_code = 0

    def run(self) -> int:
        """Start, supervise and stop all programs. Returns 0 if all of them stopped on request, else 1."""
        with StopSignals() as stop_signals:
            self._selector.register(stop_signals.fd, selectors.EVENT_READ, None)
            try:
                self._start_stage(0)
                while self._stage >= 0:
                    self._wait()
                    self._handle_signals(stop_signals.take())
                    self._reap_exited()
                    self._stop_step() if self._stopping else self._run_step()
            finally:
                self._kill_all()
        return self._exit_code

    # -- starting ------------------------------------------------------------------------------------------

    def _start_stage(self, number: int) -> None:
        self._stage = number
        self._stage_since = self._clock()
        for child in self._stages[number]:
            if not self._stopping:  # a failed start of the program before begins the stop
                self._start(child)

    def _start(self, child: Child) -> None:
        try:
            child.start()
        except OSError as exc:
            self._say(f"cannot start {child.name}: {exc}")
            self._after_death(child, 0.0)
            return
        self._selector.register(child.output_fd, selectors.EVENT_READ, child)
        if child.process is not None:
            self._say(f"{child.name} started, process {child.process.pid}")

    def _run_step(self) -> None:
        for child in self._children():
            if child.start_at is not None and child.start_at <= self._clock():
                self._start(child)
        if not (self._all_ready or self._stopping):
            self._probe()
        self._kill_what_hangs()

    def _kill_what_hangs(self) -> None:
        for child in self._children():
            if child.ask_at is None and child.pulse is not None:
                # It was restarted.
                child.probe()
            elif child.ask_at is not None and child.ask_at <= self._clock() and child.pulse and child.pulse.hangs():
                self._say(f"{child.name} runs but does not answer: SIGKILL")
                child.is_ready = False
                child.kill_group()

    def _probe(self) -> None:
        stage = self._stages[self._stage]
        for child in stage:
            child.probe()
        if all(child.is_ready for child in stage):
            if self._stage + 1 < len(self._stages):
                self._start_stage(self._stage + 1)
            else:
                self._all_ready = True
                self._on_ready()
            return
        for child in stage:
            if not child.is_ready and self._clock() - self._stage_since > child.program.start_s:
                self._too_slow(child)
                return

    def _too_slow(self, child: Child) -> None:
        text = f"{child.name} is not ready after {child.program.start_s:g} s"
        if self._is_last_stage:
            self._say(f"{text}; still waiting")
            self._stage_since = self._clock()
        else:
            self._give_up(text)

    # -- deaths --------------------------------------------------------------------------------------------

    def _reap_exited(self) -> None:
        for child in self._children():
            if child.running and child.has_ended():
                self._unwatch(child)
                lines, status, lived_s = child.reap()
                self._console.write(child.name, lines)
                self._kill_at.pop(child.name, None)
                if self._stopping:
                    self._say(f"{child.name} stopped ({status})")
                else:
                    self._say(f"{child.name} ended by itself: {status}")
                    self._after_death(child, lived_s)

    def _after_death(self, child: Child, lived_s: float) -> None:
        if not self._is_last_stage and not child.is_ready:
            # Fail at once, so that the user sees the reason: nothing runs yet that a retry would help.
            self._give_up(f"{child.name} did not start")
            return
        wait_s = child.backoff.after(lived_s)
        child.start_at = self._clock() + wait_s
        self._say(f"{child.name} starts again in {wait_s:g} s")

    def _give_up(self, why: str) -> None:
        self._say(f"{why}; giving up")
        self._exit_code = 1
        if not self._stopping:
            self._begin_stop()

    # -- stopping ------------------------------------------------------------------------------------------

    def _handle_signals(self, numbers: Iterable[signal.Signals]) -> None:
        for number in numbers:
            if self._stopping and self._clock() - self._stopping_since > _SAME_WISH_S:
                self._shorten_grace(number)
            elif not self._stopping:
                self._say(f"{number.name}: stopping (repeat the signal to hurry)")
                self._begin_stop()

    def _begin_stop(self) -> None:
        self._stopping = True
        self._stopping_since = self._clock()
        for child in self._children():
            child.start_at = None
        self._stop_stage()

    def _stop_stage(self) -> None:
        for child in self._running():
            child.signal(signal.SIGTERM)
            self._kill_at[child.name] = self._clock() + child.program.stop_s

    def _shorten_grace(self, number: signal.Signals) -> None:
        self._say(f"{number.name} again: hurrying")
        for child in self._running():
            child.signal(child.program.hurry_signal)
            hurried = self._clock() + child.program.hurry_s
            self._kill_at[child.name] = min(hurried, self._kill_at.get(child.name, hurried))

    def _stop_step(self) -> None:
        for child in self._running():
            if self._clock() >= self._kill_at.get(child.name, float("-inf")):
                self._say(f"{child.name} does not stop: SIGKILL")
                self._exit_code = 1
                self._kill_at[child.name] = self._clock() + 1.0
                child.kill_group()
        if not self._running():
            self._stage -= 1
            if self._stage >= 0:
                self._stop_stage()

    def _kill_all(self) -> None:
        """Signal the remaining programs, so that none outlives the supervisor; they exist only after its own error."""
        for child in self._children():
            child.signal(child.program.orphan_signal)
        self._selector.close()

    # -- waiting -------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        for key, _ in self._selector.select(self._timeout_s()):
            if isinstance(key.data, Child):
                self._forward(key.data)

    def _forward(self, child: Child) -> None:
        lines, at_end = child.read()
        self._console.write(child.name, lines)
        if at_end:  # it closed its output but lives: a registered closed pipe would wake the loop for ever
            self._unwatch(child)

    def _unwatch(self, child: Child) -> None:
        with suppress(KeyError):
            self._selector.unregister(child.output_fd)

    def _timeout_s(self) -> float | None:
        if not self._all_ready and not self._stopping:
            return _PROBE_S
        times = [*self._kill_at.values(), *(c.start_at for c in self._children() if c.start_at is not None)]
        if not self._stopping:
            times += [self._clock() + _PROBE_AGAIN_S if c.ask_at is None else c.ask_at for c in self._monitored()]
        return max(0.0, min(times) - self._clock()) if times else None

    def _running(self) -> list[Child]:
        return [child for child in self._stages[self._stage] if child.running]

    def _monitored(self) -> list[Child]:
        return [child for child in self._children() if child.running and child.pulse is not None]

    @property
    def _is_last_stage(self) -> bool:
        return self._stage == len(self._stages) - 1

    def _children(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]

    def _say(self, text: str) -> None:
        self._console.say(NAME, text)
