"""The backend for servers with OpenAI's chat completions: OpenAI, Azure, DeepSeek, vLLM, TGI, Ollama, llama.cpp, ….

The SDK sends the request. The answer is decoded here (``sse``, ``chunks``), because the SDK's own iteration costs
several times the CPU per token. ``errors`` lists the errors by which an upstream refuses for now. Then a job goes back
to the queue (``UpstreamClosed``) if its request has a gate that all workers share; otherwise it waits at the ``gate``
of this process. Partial answers are continued (``continuing``) if a ``continuation_probe`` verified that this works.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import httpx2
import openai

from spool.deadline import Deadline
from spool.logs import event
from spool.models.model import Model, Upstream
from worker.backends import BackendError, CannotContinue, GenerationRequest, Piece, Unstreamed, Waiting
from worker.backends.openai import errors as upstream_errors
from worker.backends.openai.audio import STREAMED_FORMAT, format_of
from worker.backends.openai.backoff import Backoff, Refusal
from worker.backends.openai.calls import call, name_of
from worker.backends.openai.chunks import Answer
from worker.backends.openai.client import CONNECT_S, connect
from worker.backends.openai.continuation_probe import Proof, probe
from worker.backends.openai.continuing import Ask, go_on, in_good_time, refuse
from worker.backends.openai.errors import Refused
from worker.backends.openai.gate import Passage, UpstreamGate
from worker.backends.openai.refusal_report import note_headers, report_refusal, too_late, tries_used
from worker.backends.openai.rejected_key import Denial
from worker.backends.openai.scrub import Scrubber
from worker.backends.openai.stream_pieces import read_pieces
from worker.backends.openai.waiting_jobs import Caller
from worker.backends.openai.whole_answers import read_result, read_unstreamed
from worker.backends.whole import is_whole
from worker.metrics import UPSTREAM_ANSWERS

log = logging.getLogger("spool.upstream")

_NEVER = 2**31
"""Tries of a prompt that alone is refused for now: it may wait until its job's deadline."""
_USUAL_PARAMS = frozenset(
    [
        *("model", "messages", "prompt", "stream", "temperature", "top_p", "seed", "stop", "user"),
        *("max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty"),
    ]
)
"""Params that no server refuses only because of the stream."""
_PROOF_S = 10.0
"""Maximum age of a proof when an answer is continued: the server may have been replaced unnoticed. Many jobs that lost
the same worker share one proof."""


class OpenAICompatible:
    """Generates with the ``upstreams``; one instance per process, shared by all its jobs."""

    def __init__(
        self, upstreams: Sequence[Upstream], *, backoff: Backoff | None = None, connect_s: float = CONNECT_S
    ) -> None:
        self._backoff = backoff or Backoff()
        self._connect_s = connect_s
        self._links: dict[str, _Link] = {}
        self.configure(upstreams)

    def configure(self, upstreams: Sequence[Upstream]) -> None:
        """Use these upstreams from now on. Calls under way continue at those that they began with, and an upstream that
        has not changed keeps its connections and what is known of it."""
        links = {}
        for upstream in upstreams:
            link = self._links.get(upstream.name)
            is_same = link is not None and link.serves(upstream)
            links[upstream.name] = link if link and is_same else _Link(upstream, self._backoff, self._connect_s)
        replaced = [link for name, link in self._links.items() if links.get(name) is not link]
        self._links = links
        for link in replaced:
            link.retire()

    def generate(self, request: GenerationRequest) -> Iterator[Piece]:
        """Yield the answer's pieces, or those after ``request.prefix``. Raises ``BackendError`` with the codes in
        ``errors``."""
        if not request.prefix:
            yield from self._ask(request)
            return
        refuse(request)
        ask = in_good_time(self._ask, request.model.first_token_s / 4)
        proof = self.proof(request.model)
        if proof is None or proof.age_s > _PROOF_S:
            proof = yield from self.prove(request.model, request.deadline, _in_place_of(ask, request))
        if not proof.joins:
            raise CannotContinue(f"the model does not continue partial answers: {proof.seen}")
        yield from go_on(ask, request)

    def proof(self, model: Model) -> Proof | None:
        """The last probe's result for the model; None before the first probe, or if its upstream was away since."""
        link = self._links.get(model.upstream)
        return None if link is None else link.proofs.get(_subject(model))

    def prove(self, model: Model, deadline: Deadline, ask: Ask | None = None) -> Generator[Piece, None, Proof]:
        """Probe whether the model continues partial answers; yields only ``Waiting``. Raises ``BackendError`` if the
        upstream is away."""
        link = self._link(model)
        proof = yield from probe(ask or self._ask, model, deadline)
        link.proofs[_subject(model)] = proof
        return proof

    def _link(self, model: Model) -> _Link:
        link = self._links.get(model.upstream)
        if link is None:
            message = "the model's upstream is not configured on this worker"
            raise BackendError("upstream_unknown", message, retryable=True)
        return link

    def _ask(self, request: GenerationRequest) -> Generator[Piece, None, None]:
        link = self._link(request.model)
        gate = link.gate(request.model)
        caller = Caller(request.job_id, request.owner, is_admitted=request.gate is not None)
        blame = _Blame(gate)
        manner = link.manner(request)
        while True:
            passage = yield from _admission(gate, request.deadline, caller)
            refused = yield from link.attempt(passage, request, manner)
            if refused is None:
                return
            if refused.at_once:
                continue
            caller.failures += 1
            blame.check(refused)
            if refused.may_be_own:
                yield from _own_wait(gate, caller, refused, request.deadline)

    def close(self) -> None:
        """Close the connections of all upstreams."""
        for link in self._links.values():
            link.close()


@dataclass(slots=True)
class _Manner:
    """How one job asks: for a stream, and for the usage at its end. A refusal changes it for this job."""

    streams: bool
    asks_usage: bool


class _Link:
    """One upstream: its client, created at first use, a gate for each of its models, and their proofs."""

    def __init__(self, upstream: Upstream, backoff: Backoff, connect_s: float) -> None:
        self._upstream = upstream
        self._backoff = backoff
        self._connect_s = connect_s
        self._lock = threading.Lock()
        self._client: openai.OpenAI | None = None
        self._gates: dict[str, UpstreamGate] = {}
        self._calls = 0
        self._is_retired = False
        self._asks_usage = True
        self._unstreamed = set[str]()
        """The models that do not stream."""
        self._is_openai = upstream.kind == "azure" or ".openai.com/" in f"{upstream.url}/"
        self._denial = Denial(upstream.name)
        self.scrub = Scrubber(upstream.url, upstream.api_key)
        self.proofs: dict[tuple[str, str], Proof] = {}

    def serves(self, upstream: Upstream) -> bool:
        """Whether this is the link of that upstream; its models may differ."""
        return replace(upstream, models=()) == replace(self._upstream, models=())

    def gate(self, model: Model) -> UpstreamGate:
        with self._lock:
            return self._gates.setdefault(name_of(model), UpstreamGate(self._backoff))

    def manner(self, request: GenerationRequest) -> _Manner:
        """How to ask, as far as is known."""
        streams = request.model.streams and name_of(request.model) not in self._unstreamed
        can_stream = format_of(request.params) in ("", STREAMED_FORMAT)
        return _Manner(streams and can_stream and not is_whole(request.endpoint, request.params), self._asks_usage)

    def _learn(self, request: GenerationRequest, manner: _Manner) -> None:
        """Ask all jobs as this one, which was answered. A refusal before it may be due to its own params, such as
        tools; then it says nothing about other jobs."""
        if request.params.keys() - _USUAL_PARAMS:
            return
        self._asks_usage = self._asks_usage and manner.asks_usage
        if not manner.streams and not is_whole(request.endpoint, request.params) and request.model.streams:
            self._unstreamed.add(name_of(request.model))

    def attempt(
        self, passage: Passage, request: GenerationRequest, manner: _Manner
    ) -> Generator[Piece, None, Refused | None]:
        """Make one call. Returns None once the answer is complete, or the reason to call again."""
        answer, gate = Answer(format_of(request.params)), self.gate(request.model)
        whole = is_whole(request.endpoint, request.params)
        streams, asks_usage = manner.streams, manner.asks_usage
        with passage, self._use():
            self._denial.check()
            try:
                if not streams:
                    yield Unstreamed()
                client, is_openai = self._connected(), self._is_openai
                sent = call(client, request, streams=streams, asks_usage=asks_usage, is_openai=is_openai)
                with sent as response:
                    UPSTREAM_ANSWERS.labels(self._upstream.name, "200").inc()
                    note_headers(request.gate, response.headers)
                    begun = partial(_taken, passage, request, gate)
                    if whole:
                        yield from read_result(response.http_response, request, begun)
                    else:
                        read = read_pieces if streams else read_unstreamed
                        yield from read(response.http_response, answer, begun)
                passage.answered()
                if request.gate is not None:
                    request.gate.accepted()
                self._denial.over()
                self._learn(request, manner)
                return None
            except upstream_errors.FOREIGN as exc:
                if asks_usage and upstream_errors.refuses_stream_options(exc):
                    manner.asks_usage = False
                    return Refused("the upstream does not support stream_options", at_once=True)
                if streams and upstream_errors.refuses_stream(exc):
                    manner.streams = False
                    return Refused("the upstream does not stream", at_once=True)
                return self._refused(exc, passage, answer, request)

    def _refused(self, exc: Exception, passage: Passage, answer: Answer, request: GenerationRequest) -> Refused:
        """Report the error to the gates. Returns the reason to call again. Raises ``BackendError``, and
        ``UpstreamClosed`` if the job waits in the queue."""
        UPSTREAM_ANSWERS.labels(self._upstream.name, str(upstream_errors.status_of(exc) or "none")).inc()
        if upstream_errors.says_away(exc):
            self.proofs.clear()  # another server may come back
        found = upstream_errors.translate(exc, self.scrub, began=answer.began)
        if isinstance(found, BackendError):
            self._failed(exc, found, passage, answer, request)
            raise found from exc
        status = upstream_errors.status_of(exc)
        event(
            "upstream_refused",
            upstream=self._upstream.name,
            model=request.model.name,
            job=request.job_id,
            request_id=request.headers.get("X-Request-Id"),
            status=status or None,
            content={"reason": str(found)},
        )
        closes = upstream_errors.closes_model(exc, found)
        if request.gate is not None and (closes or request.gate.is_probe):
            answered_s = self.gate(request.model).answered_ago_s
            report_refusal(request.gate, found, status, request.deadline, answered_s, has_failed=not closes)
        if found.may_be_own:
            if passage.failed(found.reason, is_late=False) and request.gate is not None:
                request.gate.suspected(found.reason, status=status)
        elif not passage.refused(found.reason, found.retry_after_s):
            found = Refused(found.reason, found.retry_after_s, tries=_NEVER, upstream=found.upstream)
        return found

    def _failed(
        self, exc: Exception, found: BackendError, passage: Passage, answer: Answer, request: GenerationRequest
    ) -> None:
        if not found.retryable:
            passage.rejected()
            if request.gate is not None:
                request.gate.accepted()
        elif passage.failed(found.message, is_late=answer.began) and request.gate is not None:
            request.gate.suspected(found.message, status=upstream_errors.status_of(exc))
        self._denial.note(exc, found, passage.caller.job)

    def _connected(self) -> openai.OpenAI:
        with self._lock:
            if self._client is None:
                try:
                    self._client = connect(self._upstream, connect_s=self._connect_s)
                except (ValueError, httpx2.InvalidURL) as exc:
                    raise openai.OpenAIError("cannot create the client") from exc
            return self._client

    @contextmanager
    def _use(self) -> Iterator[None]:
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            self._close_if_retired()

    def retire(self) -> None:
        """Close the connections once no call uses them: the upstream is another one, or gone."""
        self._is_retired = True
        self._close_if_retired()

    def _close_if_retired(self) -> None:
        if self._is_retired and not self._calls:
            self.close()

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


class _Blame:
    """Distinguishes a prompt that breaks its upstream from an upstream that is down and answers no job."""

    def __init__(self, gate: UpstreamGate) -> None:
        self._gate = gate
        self._tries = 0
        self._answered_at_first = 0

    def check(self, refused: Refused) -> None:
        """Count a failure. Raises ``BackendError`` once the prompt has used its tries."""
        if not refused.may_be_own:
            return
        self._tries += 1
        if self._tries == 1:
            self._answered_at_first = self._gate.answered
        elif self._tries >= refused.tries and self._gate.answered > self._answered_at_first:
            raise tries_used(self._tries, refused)


def _taken(passage: Passage, request: GenerationRequest, gate: UpstreamGate) -> None:
    """Report the answer's first piece. After failures of other jobs only a complete answer proves that all is well."""
    passage.taken()
    if request.gate is not None and not gate.has_suspects:
        request.gate.accepted()


def _own_wait(gate: UpstreamGate, caller: Caller, refused: Refused, deadline: Deadline) -> Iterator[Piece]:
    """Back off for this job alone after a failed call. Raises ``BackendError`` if the next try would come after its
    deadline."""
    delay_s = gate.backoff.delay_s(caller.failures, refused.retry_after_s)
    if deadline.left_s <= delay_s:
        raise too_late(refused.reason, refused.upstream)
    yield Waiting(refused.reason, time.time() + delay_s)
    time.sleep(delay_s)


def _admission(gate: UpstreamGate, deadline: Deadline, caller: Caller) -> Generator[Piece, None, Passage]:
    """Wait at the gate, yielding the reason. Raises ``BackendError`` if the next try would come after the deadline."""
    known: Refusal | None = None
    while True:
        answer = gate.enter(known, deadline, caller)
        if isinstance(answer, Passage):
            return answer
        if deadline.left_s <= answer.left_s:
            raise too_late(answer.reason)
        known = answer
        yield Waiting(answer.reason, time.time() + answer.left_s)


def _in_place_of(ask: Ask, request: GenerationRequest) -> Ask:
    """Make the calls of a probe on behalf of a job, so that its job goes back to the queue if they are refused."""
    return lambda probing: ask(replace(probing, job_id=request.job_id, owner=request.owner, gate=request.gate))


def _subject(model: Model) -> tuple[str, str]:
    """The key of a proof."""
    return name_of(model), model.continue_style
