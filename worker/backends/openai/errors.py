"""Translates errors of the SDK and of HTTP into Spool's.

    error                                            before the first piece        after it
    429, no connection, a Retry-After                ``Refused``: wait, retry      ``upstream_interrupted``
    408, 409, 425, other 5xx, a lost connection,     ``Refused``, ``may_be_own``   ``upstream_interrupted``
    an answer that stops without an end
    the same in an error inside a 200                as above                      ``upstream_interrupted``
    another error inside a 200                       ``upstream_error``            ``upstream_interrupted``
    another 4xx, 501, a used-up quota                ``upstream_rejected``         ``upstream_interrupted``, final
    a redirect, a request that cannot be sent        ``upstream_misconfigured``
    no chunk of a chat completion                    ``upstream_garbage``          ``upstream_garbage``
    audio in the answer that is too long             ``unsupported_output``        ``unsupported_output``

Messages are shown to the job's owner, so they are bounded and contain neither Spool's credential nor the upstream's
address (``worker.backends.openai.scrub``). They include the upstream's own code, which clients check
(``context_length_exceeded``).
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from worker.backends import BackendError
from worker.backends.openai.chunks import ErrorInStream, Garbage, NotKept
from worker.backends.openai.rate_headers import exhausted
from worker.backends.openai.scrub import Scrubber
from worker.backends.openai.sse import EventTooLong


class Unfinished(Exception):
    """The answer stopped without a terminal chunk."""


FOREIGN = (
    *(openai.OpenAIError, httpx2.RequestError, httpx2.InvalidURL),
    *(ErrorInStream, Garbage, NotKept, EventTooLong, Unfinished),
)
"""All errors that opening and reading a stream may raise."""

_USED_UP = "insufficient_quota"
_INTERRUPTED = "the answer was interrupted: "
_MESSAGE_CHARACTERS = 500
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{2,63}")
_PARAM = re.compile(r"[A-Za-z0-9_.\[\]-]{1,128}")
_NO_STREAM = re.compile(
    r"\b(not|n't|cannot|unable|unsupported|disabled)\b[^.]{0,60}\bstream(ing|ed|s)?\b|"
    r"\bstream(ing|ed)?\b['\"`]?[^.]{0,40}\b(not|n't|cannot|unsupported|disabled|must be false)\b",
    re.I,
)
_BREAKS_TRIES = 3
"""Tries of a prompt that breaks an upstream which answers others meanwhile."""
_AWAY_TRIES = 8
"""Tries of a prompt for which an upstream is away while it answers others."""
_NEVER_SENT = (
    httpx2.LocalProtocolError,
    httpx2.UnsupportedProtocol,
    httpx2.TooManyRedirects,
    httpx2.InvalidURL,
)


class Refused(Exception):
    """The upstream refuses for now. ``may_be_own``: the prompt itself may be the cause, for example if it crashes the
    upstream; then it gets ``tries`` while others are answered. ``at_once``: retry without a wait. ``upstream``: as in
    ``BackendError``."""

    def __init__(
        self,
        reason: str,
        retry_after_s: float | None = None,
        *,
        tries: int = 0,
        at_once: bool = False,
        upstream: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.tries = tries
        self.at_once = at_once
        self.upstream = upstream

    @property
    def may_be_own(self) -> bool:
        """Whether the job's own prompt may be the cause."""
        return self.tries > 0


def translate(exc: Exception, scrub: Scrubber, *, began: bool) -> Refused | BackendError:
    """Spool's error for ``exc``, one of ``FOREIGN``; ``began``: after the first piece of the answer."""
    if isinstance(exc, NotKept):
        # Another attempt would get the same.
        return BackendError("unsupported_output", str(exc), retryable=False)
    found = _translate(exc)
    text, named = _shown(str(found), _own_code(exc), scrub), _named(exc, scrub)
    if isinstance(found, BackendError) and found.code == "upstream_garbage":
        return BackendError(found.code, text, retryable=True, interrupted=began)
    if began and isinstance(found, BackendError) and found.code == "upstream_rejected":
        # Another attempt would be rejected as well.
        return BackendError("upstream_interrupted", _INTERRUPTED + text, retryable=False, upstream=named)
    if began:
        return interrupted(text, named)
    if isinstance(found, BackendError):
        return BackendError(found.code, text, retryable=found.retryable, upstream=named)
    return Refused(text, found.retry_after_s, tries=found.tries, upstream=named)


def interrupted(why: str, upstream: Mapping[str, Any] | None = None) -> BackendError:
    """The error of an answer that stopped in the middle."""
    message = _INTERRUPTED + why
    return BackendError("upstream_interrupted", message, retryable=True, interrupted=True, upstream=upstream)


def refuses_stream_options(exc: Exception) -> bool:
    """Whether the server only rejects the request for usage in a stream."""
    if not isinstance(exc, openai.APIStatusError) or exc.status_code not in (400, 422):
        return False
    return "stream_options" in exc.response.text or "include_usage" in exc.response.text


def refuses_stream(exc: Exception) -> bool:
    """Whether the server only rejects that the answer is a stream."""
    if not isinstance(exc, openai.APIStatusError) or exc.status_code not in (400, 405, 422, 501):
        return False
    if exc.param == "stream":
        return True
    return _NO_STREAM.search(_message_in(exc.body)) is not None


def says_away(exc: Exception) -> bool:
    """Whether the server, or the one behind an answering proxy, is or was away."""
    if isinstance(exc, openai.APIStatusError):
        return exc.status_code in (502, 503, 504)
    return isinstance(exc, openai.APIConnectionError | httpx2.RequestError)


def status_of(exc: Exception) -> int:
    """The HTTP status of the upstream's answer; 0 without one."""
    return exc.status_code if isinstance(exc, openai.APIStatusError) else 0


def closes_model(exc: Exception, refused: Refused) -> bool:
    """Whether the upstream refuses the model's other jobs, too. A 503 and a proxy's 502 say so, although the prompt may
    be the cause."""
    return not refused.may_be_own or status_of(exc) in (502, 503)


def _translate(exc: Exception) -> Refused | BackendError:
    if isinstance(exc, openai.APIStatusError):
        return _status(exc)
    if isinstance(exc, ErrorInStream):
        return _in_stream(exc)
    if isinstance(exc, Unfinished):
        return Refused("the upstream's stream ended early", tries=_BREAKS_TRIES)
    if isinstance(exc, Garbage | EventTooLong):
        return BackendError("upstream_garbage", f"invalid data from the upstream: {exc}", retryable=True)
    cause = exc.__cause__ if isinstance(exc, openai.APIConnectionError) else exc
    connected = isinstance(exc, openai.APIConnectionError | httpx2.RequestError)
    return _connection(cause) if connected and not isinstance(cause, _NEVER_SENT) else _misconfigured(cause)


def _status(exc: openai.APIStatusError) -> Refused | BackendError:
    text = f"HTTP {exc.status_code}: {_message_in(exc.body) or exc.response.reason_phrase}"
    if 300 <= exc.status_code < 400:
        message = f"the upstream redirects (HTTP {exc.status_code}), which is not followed; correct its URL"
        return BackendError("upstream_misconfigured", message, retryable=False)
    if exc.code == _USED_UP or not _is_passing(exc.status_code):
        return BackendError("upstream_rejected", f"the upstream rejected the request: {text}", retryable=False)
    retry_after_s = _retry_after_s(exc.response.headers)
    if retry_after_s is None and exc.status_code == 429:
        retry_after_s = (exhausted(exc.response.headers) or ("", None))[1]
    return _passing(exc.status_code, text, retry_after_s)


def _is_passing(status: int) -> bool:
    return status in (408, 409, 425, 429) or (status >= 500 and status != 501)


def _passing(status: int, text: str, retry_after_s: float | None) -> Refused:
    if status == 429 or (status != 500 and retry_after_s is not None):
        return Refused(text, retry_after_s)
    return Refused(text, retry_after_s, tries=_BREAKS_TRIES if status == 500 else _AWAY_TRIES)


def _in_stream(exc: ErrorInStream) -> Refused | BackendError:
    if _is_passing(exc.status) and exc.code != _USED_UP:
        return _passing(exc.status, f"HTTP {exc.status}: {exc.message}", None)
    if 400 <= exc.status < 500:
        return BackendError("upstream_rejected", f"the upstream rejected the request: {exc.message}", retryable=False)
    return BackendError("upstream_error", f"error from the upstream: {exc.message}", retryable=True)


def _own_code(exc: Exception) -> str:
    """The upstream's own error code, or an empty text."""
    if isinstance(exc, ErrorInStream):
        return exc.code
    if not isinstance(exc, openai.APIStatusError):
        return ""
    body = exc.body if isinstance(exc.body, Mapping) else {}
    return next((str(body[name]) for name in ("code", "type") if isinstance(body.get(name), str)), "")


def _named(exc: Exception, scrub: Scrubber) -> dict[str, Any] | None:
    """The status, and the names in the upstream's error that clients act on; none that contains a secret."""
    if isinstance(exc, ErrorInStream):
        named: dict[str, Any] = {"code": exc.code, "type": exc.kind, "param": exc.param}
        status = exc.status
    elif isinstance(exc, openai.APIStatusError):
        named, status = dict(exc.body) if isinstance(exc.body, Mapping) else {}, exc.status_code
    else:
        return None
    found: dict[str, Any] = {"status": status} if status else {}
    for name, form in (("code", _CODE), ("type", _CODE), ("param", _PARAM)):
        value = named.get(name)
        if isinstance(value, str) and form.fullmatch(value) and scrub(value) == value:
            found[name] = value
    return found or None


def _connection(cause: BaseException | None) -> Refused:
    if isinstance(cause, httpx2.ConnectTimeout):
        return Refused("the upstream cannot be reached: connecting timed out")
    if isinstance(cause, httpx2.ConnectError):
        is_certificate = isinstance(cause.__cause__, ssl.SSLCertVerificationError)
        return Refused(
            "the upstream's certificate is not valid" if is_certificate else "the upstream cannot be reached"
        )
    return Refused("the upstream's connection broke", tries=_BREAKS_TRIES)


def _misconfigured(cause: BaseException | None) -> BackendError:
    # Without its text: the message about an illegal header quotes the header, which may be the API key.
    return BackendError(
        "upstream_misconfigured", f"the upstream cannot be called ({type(cause).__name__})", retryable=False
    )


def _message_in(body: object) -> str:
    """The upstream's own message, from any of the usual fields."""
    if isinstance(body, Mapping):
        return next((str(body[name]) for name in ("message", "error", "detail") if body.get(name)), "")
    text = str(body or "").strip()
    return "" if text.startswith("<") else text


def _shown(text: str, code: str, scrub: Scrubber) -> str:
    text = scrub(text)
    named = (
        f" ({code})" if _CODE.fullmatch(code) and code != "error" and code not in text and scrub(code) == code else ""
    )
    most = _MESSAGE_CHARACTERS - len(named)
    return (text if len(text) <= most else text[: most - 1] + "…") + named


def _retry_after_s(headers: Mapping[str, Any]) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = str(headers.get(name, ""))
        if value.replace(".", "", 1).isdecimal():
            return float(value) * unit_s
    try:
        return max(0.0, parsedate_to_datetime(str(headers["retry-after"])).timestamp() - time.time())
    except (KeyError, ValueError, OverflowError):
        return None
