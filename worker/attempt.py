"""Runs one attempt: drives the backend, writes its pieces to the log, and ensures that the log ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import gevent
import orjson

from spool.deadline import Deadline
from spool.errors import StoreUnavailable
from spool.fail_points import reach
from spool.jobs.claims import Claim, Claims
from spool.jobs.conversation import given
from spool.jobs.entries import Kind, rfc3339
from spool.jobs.job import OnWorkerLoss, Status
from spool.jobs.turns import CannotContinueTurn, continued_input
from spool.models.model import Model
from worker import backends
from worker.attempt_events import AttemptEvents
from worker.attempt_log import AttemptLog, AttemptOver
from worker.backends.openai.backoff import Backoff
from worker.coalescing import Output
from worker.returned_files import ReturnedFiles, annotation_of, link_of
from worker.timeouts import AttemptTimeouts, LimitPassed

log = logging.getLogger("spool.runner")

_PIECE_CHARACTERS = 8192
"""Longer pieces become several entries, so that a page of a log has a bounded size in bytes."""


_LOGPROBS = 32
"""Tokens whose log probabilities fit one entry."""
_TOOL_CALL_BYTES = 32
"""Bytes that a piece of a tool call counts beside its text; otherwise an upstream could send empty pieces for ever."""
_RETRY = Backoff()
_AGAIN_S = 0.5


class HandBack(BaseException):
    """Raised in a job's greenlet: this worker stops, and another worker continues the job."""


class OutputTooLongError(Exception):
    """The attempt's output exceeds the job's limit."""


class Attempt:
    """One attempt at one job. ``output`` receives its entries; the default is the log itself."""

    def __init__(
        self,
        claim: Claim,
        model: Model,
        backend: backends.Backend,
        attempt_log: AttemptLog,
        claims: Claims,
        *,
        max_output_bytes: int,
        output: Output | None = None,
        gate: backends.SharedGate | None = None,
        files: ReturnedFiles | None = None,
    ) -> None:
        self.claim = claim
        self.events = AttemptEvents(claim)
        self.is_waiting = False
        """Whether it waits for its upstream, so that another job may use its slot."""
        self._gate = gate
        self._files = files
        self._file_count = 0
        self.log = attempt_log
        self._output = output or attempt_log
        self.stopwatch = AttemptTimeouts(model, claim.left_s)
        self._model = model
        self._backend = backend
        self._claims = claims
        self._left_bytes = max_output_bytes - len(claim.prefix.encode())
        self._deadline = Deadline.after(claim.left_s)
        self._usage: dict[str, Any] | None = None
        self._has_begun = False
        """Whether the model has sent a piece of the answer."""
        self._complete: str | None = None
        """The finish reason, once the answer is complete."""

    def run(self) -> None:
        """Run to any end. Raises only exceptions that would end the process anyway."""
        try:
            self._generate_or_wait()
        except AttemptOver as over:
            self.events.over(over.outcome)
        except HandBack:
            self._hand_back(counts=False, reason="handed_back", message="its worker was stopped")
        except LimitPassed as passed:
            if self._complete is not None:
                self._end(Status.SUCCEEDED, Kind.DONE, {"finish_reason": self._complete})
            else:
                self._fail(passed.code, passed.message, retryable=True)
        except OutputTooLongError as exc:
            self._fail("output_too_long", str(exc), retryable=False)
        except backends.CannotContinue as exc:
            self._hand_back(counts=False, restarts=True, reason=exc.code, message=exc.message)
        except backends.UpstreamClosed as exc:
            self._hand_back(counts=False, reason=exc.code, message=exc.message, again_ms=exc.again_ms)
        except backends.BackendError as exc:
            if exc.interrupted:
                self._hand_back(counts=True, reason=exc.code, message=exc.message, upstream=exc.upstream)
            else:
                self._fail(exc.code, exc.message, retryable=exc.retryable, upstream=exc.upstream)
        except Exception:
            # The boundary: a bug in a backend must end only this job.
            log.exception("job %s: unexpected error in the backend", self.claim.job.id)
            self._fail("internal", "the backend failed unexpectedly", retryable=True)

    def _generate_or_wait(self) -> None:
        """Generate. After an interrupted answer, back off before the job is handed back for another attempt; if its
        upstream is closed, the job waits in the queue."""
        try:
            self._generate()
        except backends.CannotContinue:
            raise
        except backends.UpstreamClosed as exc:
            self._write_other(backends.Waiting(exc.message, exc.retry_at))
            raise
        except backends.BackendError as exc:
            if exc.interrupted:
                self._wait_to_retry(exc)
            raise

    def _wait_to_retry(self, exc: backends.BackendError) -> None:
        """Back off before the next attempt. Raises ``BackendError`` if there is none."""
        job, attempts = self.claim.job, self._claims.max_attempts
        losses = job.losses + 1
        if losses >= attempts:
            message = f"attempt {losses} of {attempts} failed: {exc.message}"
            raise backends.BackendError("attempts_exhausted", message, retryable=True, upstream=exc.upstream) from exc
        if job.on_worker_loss is OnWorkerLoss.FAIL:
            return
        delay_s = _RETRY.delay_s(losses)
        if self._deadline.left_s <= delay_s:
            message = f"no other attempt before the job's deadline: {exc.message}"
            raise backends.BackendError(exc.code, message, retryable=True, upstream=exc.upstream) from exc
        self._write_other(backends.Waiting(exc.message, time.time() + delay_s))
        gevent.sleep(delay_s)

    def _input(self) -> Mapping[str, Any]:
        """The job's input with the earlier turns that it asked for. Waits while Redis is away. Raises
        ``BackendError``."""
        while True:
            try:
                return continued_input(self._claims.shards, self.claim, keeps_reasoning=self._model.keeps_reasoning)
            except CannotContinueTurn as exc:
                raise backends.BackendError(exc.code, str(exc), retryable=False) from exc
            except StoreUnavailable:
                gevent.sleep(_AGAIN_S)

    def _generate(self) -> None:
        job_input = self._input()
        request = backends.GenerationRequest(
            job_id=self.claim.job.id,
            model=self._model,
            messages=given(job_input),
            params=job_input.get("params") or {},
            prefix=self.claim.prefix,
            deadline=self._deadline,
            owner=self.claim.job.owner,
            gate=self._gate,
            endpoint=job_input.get("endpoint") or "",
            headers=self.events.calls(job_input.get("endpoint") or ""),
        )
        finish = "stop"
        with closing(self._backend.generate(request)) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                if type(piece) is backends.Text:
                    if not self._has_begun:
                        self._begin_answer()
                    self.is_waiting = False
                    self._write_text(Kind.TOKEN, piece.text)
                    reach("piece.written")
                    # After the write, which may have blocked on Redis: that time does not count against the model.
                    self.stopwatch.touch()
                elif type(piece) is backends.Finish:
                    finish = piece.reason
                else:
                    self._write_other(piece)
        self._end(Status.SUCCEEDED, Kind.DONE, {"finish_reason": finish})

    def _begin_answer(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self.events.first_token()

    def _write_text(self, kind: Kind, text: str) -> None:
        is_answer = kind is Kind.TOKEN
        if len(text) <= _PIECE_CHARACTERS:
            # The usual case: one piece, encoded once.
            raw = text.encode()
            self._count(len(raw))
            self._output.append_text(kind, text, raw if is_answer else b"")
            return
        for part in self._parts(text):
            self._output.append_text(kind, part, part.encode() if is_answer else b"")

    def _count(self, size: int) -> None:
        """Raises ``OutputTooLongError`` past the job's limit."""
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise OutputTooLongError("the answer exceeds this server's limit (SPOOL_MAX_OUTPUT_BYTES)")

    def _parts(self, text: str) -> Iterator[str]:
        """Split the text into pieces that fit an entry. Raises ``OutputTooLongError``."""
        self._count(len(text.encode()))
        # An empty text is one piece too.
        for at in range(0, len(text) or 1, _PIECE_CHARACTERS):
            yield text[at : at + _PIECE_CHARACTERS]

    def _write_other(self, piece: backends.Piece) -> None:
        self.is_waiting = type(piece) is backends.Waiting
        match piece:
            case backends.Waiting(reason, retry_at):
                self.stopwatch.wait_until(retry_at)
                self.events.waits(reason, retry_at - time.time())
                self._output.append(Kind.WAITING, {"reason": reason, "retry_at": rfc3339(retry_at)})
                return
            case backends.Alive():
                self.stopwatch.alive()
                return
            case backends.Unstreamed():
                self.stopwatch.whole()
                return
            case backends.Complete(reason):
                self._complete = reason
                self.stopwatch.complete()
                return
            case backends.Reasoning(text):
                if self._model.continue_style or self._model.keeps_reasoning:
                    # The partial answer that an upstream continues cannot include the reasoning, and a later turn
                    # reads the reasoning from the log.
                    self.log.plain = False
                self._begin_answer()
                self._write_text(Kind.REASONING, text)
            case backends.TextMark():
                self._mark(piece)
            case backends.File():
                self._begin_answer()
                self._write_file(piece)
            case backends.ToolCall(index, call_id, name, arguments):
                self._count(_TOOL_CALL_BYTES + sum(len(label.encode()) for label in (call_id, name) if label))
                for part in self._parts(arguments):
                    fields = {"index": index, "call_id": call_id, "name": name, "arguments": part}
                    self._output.append(Kind.TOOL_CALL, fields)
            case backends.Result(body):
                self._begin_answer()
                for part in self._parts(body):
                    self._output.append(Kind.RESULT, {"body": part})
            case backends.Usage():
                self._usage = {name: count for name, count in asdict(piece).items() if count is not None}
                self._output.append(Kind.USAGE, self._usage)
        self.stopwatch.touch()

    def _mark(self, mark: backends.TextMark) -> None:
        """Write a mark as a piece of text without characters, so that readers that know no marks skip it."""
        if mark.refuses:
            self._output.append(Kind.TOKEN, {"text": "", "refusal": True})
        if mark.annotations:
            self._write_marks("annotations", mark.annotations)
        for at in range(0, len(mark.logprobs), _LOGPROBS):
            self._write_marks("logprobs", mark.logprobs[at : at + _LOGPROBS])

    def _write_file(self, file: backends.File) -> None:
        """Store the file, and write a link to it. Raises ``BackendError``."""
        if self._files is None:
            raise backends.BackendError("unsupported_output", "this worker stores no files", retryable=False)
        self._file_count += 1
        stored = self._files.store(self.claim.job, file, self._file_count, self._deadline.left_s)
        self._write_text(Kind.TOKEN, link_of(stored, file.media_type))
        self._write_marks("annotations", [annotation_of(stored, file.media_type)])

    def _write_marks(self, name: str, marks: Sequence[Mapping[str, Any]]) -> None:
        try:
            self._count(len(orjson.dumps(marks)))
        except orjson.JSONEncodeError:
            # orjson reads deeper nesting than it writes.
            return
        self._output.append(Kind.TOKEN, {"text": "", name: marks})

    def _fail(self, code: str, message: str, *, retryable: bool, upstream: Mapping[str, Any] | None = None) -> None:
        error: dict[str, Any] = {"code": code, "message": message, "retryable": retryable}
        if upstream:
            error["upstream"] = upstream
        self._end(Status.FAILED, Kind.FAILED, {"error": error})

    def _end(self, status: Status, kind: Kind, fields: dict[str, Any]) -> None:
        try:
            self._output.end(status, kind, fields, self._usage)
            # While Redis is away the end waits; after the deadline the keeper has written another end.
            if not self._output.flush(Deadline.after(self._deadline.left_s + 5.0)):
                log.error("job %s: its terminal entry did not reach Redis before the deadline", self.claim.job.id)
                return
            self.events.ended(status, fields, self._usage)
        except AttemptOver as over:
            self.events.over(over.outcome)

    def _hand_back(
        self,
        *,
        counts: bool,
        reason: str,
        message: str,
        restarts: bool = False,
        again_ms: int = 0,
        upstream: Mapping[str, Any] | None = None,
    ) -> None:
        job_id, deadline = self.claim.job.id, Deadline.after(5.0)
        try:
            self._output.flush(deadline)
            self.log.give_up()
            reach("hand_back.before")
            answer = self._claims.hand_back(
                job_id,
                self.claim.fence,
                counts=counts,
                restarts=restarts,
                reason=reason,
                message=message,
                again_ms=again_ms,
                upstream=upstream,
            )
            reach("hand_back.answered")
            self.events.handed_back(reason, answer, message)
        except AttemptOver as over:
            self.events.over(over.outcome)
        except StoreUnavailable as exc:
            # Its lease expires, and the keeper requeues it.
            log.warning("job %s not handed back: %s", job_id, exc)
