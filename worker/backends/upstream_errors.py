"""The one place where errors of the SDK and of HTTP become ours.

    what came                                        before the first piece        after it
    408, 409, 425, 429, 5xx, no or a lost connection ``Refused``: wait, try again  ``upstream_interrupted``
    the same in an error inside the stream           ``Refused``                   ``upstream_interrupted``
    another error inside the stream                  ``upstream_error``            ``upstream_interrupted``
    another 4xx, 501, a used-up quota                ``upstream_rejected``
    a request that cannot even be sent               ``upstream_misconfigured``
    no chunk of a chat completion                    ``upstream_garbage``          ``upstream_garbage``

Messages are shown to whoever submitted the job: bounded, and without the API key or where the upstream is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from worker.backends import BackendError
from worker.backends.chat_chunks import ErrorInStream, Garbage
from worker.backends.sse_decode import EventTooLong

FOREIGN = (openai.OpenAIError, httpx2.RequestError, httpx2.InvalidURL, ErrorInStream, Garbage, EventTooLong)
"""All that opening and reading a stream may raise."""

_MESSAGE_CHARACTERS = 500
_NEVER_SENT = (
    httpx2.LocalProtocolError,
    httpx2.UnsupportedProtocol,
    httpx2.TooManyRedirects,
    httpx2.InvalidURL,
)


class Refused(Exception):
    """Not now. ``blames_prompt``: the prompt itself may be why, as when it crashes the upstream."""

    def __init__(self, reason: str, retry_after_s: float | None = None, *, blames_prompt: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.blames_prompt = blames_prompt


def translate(exc: Exception, api_key: str, *, began: bool) -> Refused | BackendError:
    """What ``exc``, one of ``FOREIGN``, means; ``began``: after the first piece of the answer."""
    found = _translate(exc)
    text = _shown(str(found), api_key)
    if isinstance(found, BackendError) and found.code == "upstream_garbage":
        return BackendError(found.code, text, retryable=True, interrupted=began)
    if began:
        return interrupted(text)
    if isinstance(found, BackendError):
        return BackendError(found.code, text, retryable=found.retryable)
    return Refused(text, found.retry_after_s, blames_prompt=found.blames_prompt)


def interrupted(why: str) -> BackendError:
    """The answer broke off in the middle."""
    return BackendError("upstream_interrupted", f"the answer broke off: {why}", retryable=True, interrupted=True)


def refuses_stream_options(exc: Exception) -> bool:
    """Whether the server only refuses to be asked for usage in a stream."""
    if not isinstance(exc, openai.APIStatusError) or exc.status_code not in (400, 422):
        return False
    return "stream_options" in exc.response.text or "include_usage" in exc.response.text


def says_away(exc: Exception) -> bool:
    """Whether the server, or the one behind the proxy that answers, was gone for a while or still is."""
    if isinstance(exc, openai.APIStatusError):
        return exc.status_code in (502, 503, 504)
    return isinstance(exc, openai.APIConnectionError | httpx2.RequestError)


def _translate(exc: Exception) -> Refused | BackendError:
    if isinstance(exc, openai.APIStatusError):
        return _status(exc)
    if isinstance(exc, ErrorInStream):
        return _in_stream(exc)
    if isinstance(exc, Garbage | EventTooLong):
        return BackendError("upstream_garbage", f"the upstream sent garbage: {exc}", retryable=True)
    cause = exc.__cause__ if isinstance(exc, openai.APIConnectionError) else exc
    connected = isinstance(exc, openai.APIConnectionError | httpx2.RequestError)
    return _connection(cause) if connected and not isinstance(cause, _NEVER_SENT) else _misconfigured(cause)


def _status(exc: openai.APIStatusError) -> Refused | BackendError:
    text = f"HTTP {exc.status_code}: {_said(exc.body) or exc.response.reason_phrase}"
    if exc.code == "insufficient_quota" or not _is_passing(exc.status_code):
        return BackendError("upstream_rejected", f"the upstream rejected it with {text}", retryable=False)
    return Refused(text, _retry_after_s(exc.response.headers), blames_prompt=exc.status_code == 500)


def _is_passing(status: int) -> bool:
    return status in (408, 409, 425, 429) or (status >= 500 and status != 501)


def _in_stream(exc: ErrorInStream) -> Refused | BackendError:
    if _is_passing(exc.status):
        return Refused(f"HTTP {exc.status}: {exc.message}", blames_prompt=exc.status == 500)
    if 400 <= exc.status < 500:
        return BackendError("upstream_rejected", f"the upstream rejected it: {exc.message}", retryable=False)
    return BackendError("upstream_error", f"the upstream reports: {exc.message}", retryable=True)


def _connection(cause: BaseException | None) -> Refused:
    if isinstance(cause, httpx2.ConnectTimeout):
        return Refused("the upstream cannot be reached: connecting took too long")
    if isinstance(cause, httpx2.ConnectError):
        return Refused("the upstream cannot be reached")
    return Refused("the upstream's connection broke", blames_prompt=True)


def _misconfigured(cause: BaseException | None) -> BackendError:
    # Not its text: an illegal header's message quotes the header, and that may be the key.
    return BackendError(
        "upstream_misconfigured", f"the upstream cannot be called ({type(cause).__name__})", retryable=False
    )


def _said(body: object) -> str:
    """The upstream's own message, wherever it put it."""
    if isinstance(body, Mapping):
        return next((str(body[name]) for name in ("message", "error", "detail") if body.get(name)), "")
    text = str(body or "").strip()
    return "" if text.startswith("<") else text


def _shown(text: str, api_key: str) -> str:
    if api_key:
        text = text.replace(api_key, "***")
    text = " ".join(text[: 4 * _MESSAGE_CHARACTERS].split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


def _retry_after_s(headers: Mapping[str, Any]) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = str(headers.get(name, ""))
        if value.replace(".", "", 1).isdecimal():
            return float(value) * unit_s
    try:
        return max(0.0, parsedate_to_datetime(str(headers["retry-after"])).timestamp() - time.time())
    except (KeyError, ValueError, OverflowError):
        return None
