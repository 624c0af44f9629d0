"""Any server that speaks OpenAI's chat completions: OpenAI, Azure, DeepSeek, vLLM, TGI, Ollama, llama.cpp, ….

The SDK makes the request; the answer is decoded here (``sse_decode``, ``chat_chunks``), because the SDK's own
iteration costs several times the CPU for each token. An upstream that refuses for now is waited out behind a
gate that all jobs of the model share (``upstream_gate``); ``upstream_errors`` says which errors are that. A partial
answer is gone on with (``continuing``) where that has been seen to work (``continue_probe``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import httpx2
import openai
from openai import APIResponse

from spool.deadline import Deadline
from spool.models import Model, Upstream
from worker.backends import BackendError, CannotContinue, GenerationRequest, Piece, Waiting, upstream_errors
from worker.backends.chat_chunks import Answer, Garbage
from worker.backends.continue_probe import Proof, probe
from worker.backends.continuing import Ask, go_on, in_good_time, refuse
from worker.backends.sse_decode import SSEDecoder
from worker.backends.upstream_client import CONNECT_S, connect
from worker.backends.upstream_errors import Refused
from worker.backends.upstream_gate import Backoff, Passage, Refusal, UpstreamGate

log = logging.getLogger("spool.upstream")

_OURS = ("model", "messages", "stream")
_BLAMED_TRIES = 3
"""So often may a prompt break an upstream that meanwhile answers others."""
_PROOF_S = 10.0
"""How old a proof may be when an answer is to be gone on with: the server may have been replaced unseen. Many jobs that
lost one worker share one."""


class OpenAICompatible:
    """Generates with the ``upstreams``; one for a process, shared by all its jobs."""

    def __init__(
        self, upstreams: Sequence[Upstream], *, backoff: Backoff | None = None, connect_s: float = CONNECT_S
    ) -> None:
        self._links = {u.name: _Link(u, backoff or Backoff(), connect_s) for u in upstreams}

    def generate(self, request: GenerationRequest) -> Iterator[Piece]:
        """Yield the answer's pieces, or those after ``request.prefix``; ``BackendError`` codes are listed in
        ``upstream_errors``."""
        if not request.prefix:
            yield from self._ask(request)
            return
        refuse(request)
        ask = in_good_time(self._ask, request.model.first_token_s / 4)
        proof = self.proof(request.model)
        if proof is None or proof.age_s > _PROOF_S:
            proof = yield from self.prove(request.model, request.deadline, ask)
        if not proof.joins:
            raise CannotContinue(f"the model does not go on from a partial answer: {proof.seen}")
        yield from go_on(ask, request)

    def proof(self, model: Model) -> Proof | None:
        """What was last seen of the model's going on from a partial answer; None if its upstream has been away since,
        or nothing was seen yet."""
        link = self._links.get(model.upstream)
        return None if link is None else link.proofs.get(_subject(model))

    def prove(self, model: Model, deadline: Deadline, ask: Ask | None = None) -> Generator[Piece, None, Proof]:
        """See whether the model goes on from a partial answer; yields only ``Waiting``. Raises ``BackendError`` if the
        upstream is away."""
        link = self._link(model)
        proof = yield from probe(ask or self._ask, model, deadline)
        link.proofs[_subject(model)] = proof
        return proof

    def _link(self, model: Model) -> _Link:
        link = self._links.get(model.upstream)
        if link is None:
            message = "this worker does not know the model's upstream"
            raise BackendError("upstream_unknown", message, retryable=True)
        return link

    def _ask(self, request: GenerationRequest) -> Generator[Piece, None, None]:
        link = self._link(request.model)
        gate = link.gate(request.model)
        blame = _Blame(gate)
        while True:
            passage = yield from _admission(gate, request.deadline)
            refused = yield from link.attempt(passage, request)
            if refused is None:
                gate.answered += 1
                return
            blame.check(refused)

    def close(self) -> None:
        """Close the connections of all upstreams."""
        for link in self._links.values():
            link.close()


class _Link:
    """One upstream: its client, made when it is first needed, a gate for each of its models, and what was seen of their
    going on from a partial answer."""

    def __init__(self, upstream: Upstream, backoff: Backoff, connect_s: float) -> None:
        self._upstream = upstream
        self._backoff = backoff
        self._connect_s = connect_s
        self._lock = threading.Lock()
        self._client: openai.OpenAI | None = None
        self._gates: dict[str, UpstreamGate] = {}
        self._asks_usage = True
        self._is_openai = upstream.kind == "azure" or ".openai.com/" in f"{upstream.url}/"
        self.proofs: dict[tuple[str, str], Proof] = {}

    def gate(self, model: Model) -> UpstreamGate:
        with self._lock:
            return self._gates.setdefault(_name(model), UpstreamGate(self._backoff))

    def attempt(self, passage: Passage, request: GenerationRequest) -> Generator[Piece, None, Refused | None]:
        """One call. Returns None when the answer is whole, or why the call is to be made again."""
        answer = Answer()
        asks_usage = self._asks_usage
        with passage:
            try:
                with self._call(request, asks_usage) as response:
                    passage.taken()
                    yield from _pieces(response.http_response, answer)
                return None
            except upstream_errors.FOREIGN as exc:
                if asks_usage and upstream_errors.refuses_stream_options(exc):
                    self._asks_usage = False
                    return Refused("the server knows no stream_options")
                return self._refused(exc, passage, answer)

    def _call(self, request: GenerationRequest, asks_usage: bool) -> AbstractContextManager[APIResponse[Any]]:
        """The request, sent on entering. Leaving closes the connection, unless it can be used again."""
        messages, extra = _body(request, asks_usage)
        if "max_completion_tokens" in extra and not self._is_openai:
            # What others call it; servers that know the newer name as well know this one too.
            extra.setdefault("max_tokens", extra.pop("max_completion_tokens"))
        return self._connected().chat.completions.with_streaming_response.create(
            model=_name(request.model),
            messages=cast(Any, messages),
            stream=True,
            extra_body=extra,
            # Compression would hold tokens back.
            extra_headers={"Accept": "text/event-stream", "Accept-Encoding": "identity"},
        )

    def _refused(self, exc: Exception, passage: Passage, answer: Answer) -> Refused:
        if upstream_errors.says_away(exc):
            self.proofs.clear()  # what comes back may be another server
        found = upstream_errors.translate(exc, self._upstream.api_key, began=answer.began)
        if isinstance(found, BackendError):
            passage.taken()
            raise found from exc
        log.warning("upstream %s: %s", self._upstream.name, found)
        passage.refused(found.reason, found.retry_after_s)
        return found

    def _connected(self) -> openai.OpenAI:
        with self._lock:
            if self._client is None:
                try:
                    self._client = connect(self._upstream, connect_s=self._connect_s)
                except (ValueError, httpx2.InvalidURL) as exc:
                    raise openai.OpenAIError("the client cannot be made") from exc
            return self._client

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


class _Blame:
    """Tells a prompt that breaks its upstream from an upstream that is down, which answers nobody."""

    def __init__(self, gate: UpstreamGate) -> None:
        self._gate = gate
        self._tries = 0
        self._taken_at_first = 0

    def check(self, refused: Refused) -> None:
        """Raises ``BackendError`` when it is the prompt's turn to give way."""
        if not refused.blames_prompt:
            return
        self._tries += 1
        if self._tries == 1:
            self._taken_at_first = self._gate.answered
        elif self._tries >= _BLAMED_TRIES and self._gate.answered > self._taken_at_first:
            message = f"the upstream failed {self._tries} times on this prompt: {refused.reason}"
            raise BackendError("upstream_failed", message, retryable=True)


def _admission(gate: UpstreamGate, deadline: Deadline) -> Generator[Piece, None, Passage]:
    """Wait at the gate, saying why. Raises ``BackendError`` when the next try would come too late."""
    told: Refusal | None = None
    while True:
        answer = gate.enter(told, deadline)
        if isinstance(answer, Passage):
            return answer
        if deadline.left_s <= answer.left_s:
            message = f"no answer before the job's deadline: {answer.reason}"
            raise BackendError("upstream_unavailable", message, retryable=True)
        told = answer
        yield Waiting(answer.reason, time.time() + answer.left_s)


def _pieces(response: httpx2.Response, answer: Answer) -> Iterator[Piece]:
    """All pieces of the answer in ``response``; ``BackendError`` if it ends in the middle."""
    kind = response.headers.get("content-type", "text/event-stream").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise Garbage(f"{kind[:60]} where an event stream should be")
    decoder = SSEDecoder()
    try:
        for chunk in _content(response):
            for event in decoder.feed(chunk):
                yield from answer.feed(event)
                if answer.done:
                    yield from answer.finish()
                    return
    except httpx2.RequestError:
        if not answer.ended:
            raise
        # Only what follows the end was lost, such as the usage.
    else:
        for event in decoder.end():
            yield from answer.feed(event)
    if not answer.ended:
        raise upstream_errors.interrupted("the stream stopped without an end")
    yield from answer.finish()


def _content(response: httpx2.Response) -> Iterable[bytes]:
    """As it comes, past the layers that decode what was encoded: nearly always nothing was."""
    is_encoded = "content-encoding" in response.headers
    return response.iter_bytes() if is_encoded else cast(Iterable[bytes], response.stream)


def _body(request: GenerationRequest, asks_usage: bool) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """The messages, and all else that is sent beside what is ours."""
    extra = {name: value for name, value in request.params.items() if name not in _OURS}
    options = extra.pop("stream_options", None)
    if asks_usage:
        extra["stream_options"] = {**(options or {}), "include_usage": True}
    return list(request.messages), extra


def _subject(model: Model) -> tuple[str, str]:
    """What a proof is about."""
    return _name(model), model.continue_style


def _name(model: Model) -> str:
    return model.upstream_model or model.name
