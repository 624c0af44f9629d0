"""Follows one job's log to its end, over any number of connections, one at a time.

A new connection needs only the cursor. If it is unclear why one ended, the job's record is asked: it tells a lost
server from a blocked transport, and an ended job from a broken stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spool_client.backoff import Backoff
from spool_client.documents import Job, has_ended
from spool_client.errors import SpoolError, Unreachable
from spool_client.ladder import TRANSPORTS, Ladder, Memory
from spool_client.log import JobLog
from spool_client.steps import Changed, Close, Pause, Request, Steps, emit, exchange, job_path, parsed
from spool_client.timing import Timing
from spool_client.transports import READERS


@dataclass(slots=True)
class Outcome:
    """How a connection ended. ``retry_s``: the pause that the server asked for."""

    error: SpoolError | None = None
    retry_s: float = 0.0
    is_left: bool = False

    @property
    def is_silence(self) -> bool:
        """Whether an open connection brought nothing in time."""
        return isinstance(self.error, Unreachable) and self.error.is_silence


class Follower:
    """One reader. ``steps`` may be run again after an interruption and continues after the last entry."""

    def __init__(
        self,
        job: str | Mapping[str, Any],
        timing: Timing,
        *,
        after: int = 0,
        transports: Sequence[str] = TRANSPORTS,
        memory: Memory | None = None,
    ) -> None:
        self.path = job_path(job)
        self.log = JobLog(after)
        self.job: Job | None = None
        """The record as it was last seen, with its text only if it was asked for."""
        self.connection = "idle"
        """``idle``, ``connecting``, ``live``, ``waiting``, ``ended`` or ``refused``."""
        self.trouble: SpoolError | None = None
        """Why the last connection ended, while the client reconnects."""
        self.connections = 0
        self._timing = timing
        self._ladder = Ladder(transports, timing, memory)
        self._backoff = Backoff(timing)
        self._silence_s = timing.silence_s
        self._tag = ""
        self._brought = 0
        self._has_opened = False

    @property
    def transport(self) -> str:
        """The transport in use."""
        return self._ladder.name

    def steps(self) -> Steps[None]:
        """Follow to the end. Raises the server's refusal (400, 401, 403, 404, 410, 422)."""
        self._backoff.reset()
        try:
            while not self.log.is_ended:
                outcome = yield from self._connect()
                needs_pause = yield from self._settle(outcome)
                if self.log.is_ended and self.log.lacks_text:
                    yield from self._complete()
                if needs_pause and not self.log.is_ended:
                    yield from self._be("waiting", outcome.error)
                    at_least_s = max(outcome.retry_s, outcome.error.retry_after_s if outcome.error else 0.0)
                    yield Pause(self._backoff.next_s(at_least_s))
        except SpoolError as error:
            yield from self._be("refused", error)
            raise
        yield from self._be("ended")

    def _connect(self) -> Steps[Outcome]:
        name = self._ladder.next()
        self._brought, self._has_opened = 0, False
        yield from self._be("connecting", self.trouble)
        try:
            retry_s = yield from READERS[name](self.path, self._timing, self)
            outcome = Outcome(retry_s=retry_s, is_left=self.should_leave and not self.log.is_ended)
        except SpoolError as error:
            outcome = Outcome(error)
        except (ValueError, KeyError, TypeError):
            # A document that is not Spool's: a proxy has changed the stream.
            outcome = Outcome(SpoolError("the stream was changed in transit", status=502))
        yield Close()
        return outcome

    # What a transport reports to.

    @property
    def cursor(self) -> int:
        """The id of the last entry that this reader has."""
        return self.log.cursor

    @property
    def silence_s(self) -> float:
        """How long a stream may bring nothing. It grows while the record says that there was nothing to bring."""
        return self._silence_s

    @property
    def should_leave(self) -> bool:
        """Whether a better transport is to be tried."""
        return self._ladder.should_climb

    def opened(self) -> Steps[None]:
        """The connection shows life."""
        if not self._has_opened:
            self._has_opened = True
            self.connections += 1
            yield from self._be("live")

    def document(self, document: Mapping[str, Any]) -> Steps[bool]:
        """An entry or a message of the server; whether it was new."""
        yield from self.opened()
        found = self.log.take(document)
        if found is not None and found.kind:
            self._brought += 1
            if self._brought == 1:
                self._ladder.works()
        return bool((yield from emit(found)))

    def record(self, job: Job) -> Steps[None]:
        """The record as the only source of text."""
        self.job = job
        if has_ended(job["status"]):
            yield from emit(self.log.finish(job))
            return
        self.log.see(job)
        self._brought += yield from emit(self.log.adopt(job))

    # What the end of a connection means.

    def _settle(self, outcome: Outcome) -> Steps[bool]:
        """Whether a pause is needed before the next connection. Raises what the server refuses."""
        if self.log.is_ended:
            return False
        error = outcome.error
        if error is not None and error.is_refusal:
            raise error
        if self._brought:
            self._backoff.reset()
        if outcome.is_left:
            self._ladder.works()
            return False
        # After a cut in the middle of an answer there is no doubt: reconnect.
        is_clear = self._brought > 0 and not (error and error.status) and not outcome.is_silence
        if is_clear and not self.log.lacks_text:
            return True
        job = yield from self._look()
        # Without a record the server is unreachable, which says nothing about the transport.
        if job is None:
            return True
        if has_ended(job["status"]) and (job["last_entry"] <= self.cursor or self.log.lacks_text):
            yield from emit(self.log.finish(job))
            return False
        if self.log.lacks_text:
            yield from emit(self.log.adopt(job))
        return True if is_clear else self._judge(outcome, is_behind=job["last_entry"] > self.cursor)

    def _judge(self, outcome: Outcome, *, is_behind: bool) -> bool:
        """Strike a transport that fails while the record answers. Whether a pause is needed."""
        timing, error = self._timing, outcome.error
        if outcome.is_silence and self._has_opened and not is_behind:
            # There was nothing to bring.
            self._silence_s = min(timing.silence_most_s, self._silence_s * 2)
            self._ladder.works()
            return False
        if outcome.is_silence:
            self._silence_s = timing.silence_s
            has_stepped = self._ladder.strike(is_sure=not self._brought)
            return not (has_stepped or self._brought)
        if error is not None and error.problem is not None:
            return True
        if not self._has_opened or (error and error.status) or is_behind:
            has_stepped = self._ladder.strike()
            if has_stepped:
                self._backoff.reset()
            return not has_stepped
        self._ladder.works()
        return True

    def _complete(self) -> Steps[None]:
        """After a gap the record has the whole text."""
        job = yield from self._look()
        if job is not None and has_ended(job["status"]):
            yield from emit(self.log.finish(job))

    def _look(self) -> Steps[Job | None]:
        """The record, or None if it cannot be had now. Raises what the server refuses."""
        headers = {"If-None-Match": self._tag} if self._tag else {}
        request = Request("GET", self.path, self._timing.look_s, headers)
        try:
            answer = yield from exchange(request, self._timing.whole_s)
            if answer.status == 200:
                self.job = parsed(answer, request)
        except SpoolError as error:
            if error.is_refusal:
                raise
            return None
        self._tag = answer.headers.get("etag", "")
        if self.job is not None:
            self.log.see(self.job)
        return self.job

    def _be(self, connection: str, trouble: SpoolError | None = None) -> Steps[None]:
        self.connection, self.trouble = connection, trouble
        yield Changed()
