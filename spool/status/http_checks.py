"""Checks over HTTP: model servers, and whether a proxy before the webs passes streams on as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import httpx

from spool.models.model import Upstream
from spool.status.finding import Finding, error, ok, warning

_TIMEOUT_S = 5.0
_AZURE_API_VERSION = "2024-10-21"
_TOKENS = 8
_RATE = 4.0
"""Tokens a second: the answer takes two seconds."""
_PROMPT = {"prompt": "spool doctor", "model": "demo", "params": {"tokens": _TOKENS, "rate": _RATE}, "ttl_s": 60}


def check_upstreams(upstreams: Sequence[Upstream]) -> Iterator[Finding]:
    """Whether each model server lists its models."""
    for upstream in upstreams:
        yield _check_upstream(upstream)


def _check_upstream(upstream: Upstream) -> Finding:
    name = f"upstream {upstream.name}"
    url, headers = f"{upstream.url}/models", {}
    if upstream.kind == "azure":
        url = f"{upstream.url}/openai/models?api-version={upstream.api_version or _AZURE_API_VERSION}"
    if upstream.api_key:
        headers = {"api-key": upstream.api_key, "Authorization": f"Bearer {upstream.api_key}"}
        del headers["Authorization" if upstream.kind == "azure" else "api-key"]
    try:
        # Its content is not read, whatever its size.
        with httpx.stream("GET", url, headers=headers, timeout=_TIMEOUT_S) as answer:
            pass
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        return error(name, f"does not answer ({type(exc).__name__})", "check its URL, and that the server runs")
    if answer.status_code in (401, 403):
        return error(name, f"refuses the key (HTTP {answer.status_code})", "correct its api key")
    if answer.status_code >= 400:
        return warning(name, f"answers GET /models with HTTP {answer.status_code}", "does its URL end with /v1?")
    return ok(name, "answers")


def check_stream(url: str, key: str, clock: Callable[[], float] = time.monotonic) -> Finding:
    """Whether a stream through ``url`` arrives piece by piece: a job of the demo, which takes two seconds."""
    shown = _without_password(url)
    headers = {"Accept": "text/event-stream", **({"Authorization": f"Bearer {key}"} if key else {})}
    arrived: list[float] = []
    try:
        with httpx.stream("POST", f"{url}/jobs", json=_PROMPT, headers=headers, timeout=_TIMEOUT_S * 4) as answer:
            if answer.status_code != 200:
                answer.read()
                return _not_tested(shown, answer)
            for _line in answer.iter_lines():
                arrived.append(clock())
    except httpx.InvalidURL:
        return error("stream", f"{shown} is not a URL", "correct --url")
    except httpx.HTTPError as exc:
        return _no_stream(shown, exc)
    spread_s = arrived[-1] - arrived[0] if arrived else 0.0
    if spread_s >= (_TOKENS - 1) / _RATE / 2:
        return ok("stream", f"{shown} passes events on as they come")
    return error(
        "stream",
        f"{shown} buffers: a stream of {_TOKENS / _RATE:g} s arrived within {spread_s:.1f} s",
        "turn buffering and compression of streams off in the proxy (nginx: proxy_buffering off)",
    )


def _no_stream(shown: str, exc: httpx.HTTPError) -> Finding:
    reason = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        remedy = "SSL_CERT_FILE=FILE names the certificates to trust, if this one is of an authority of your own"
    else:
        remedy = "check the URL and the proxy"
    return error("stream", f"{shown} does not stream ({reason})", remedy)


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    return scheme + mark + rest.rpartition("@")[2] if mark else url.rpartition("@")[2]


def _not_tested(url: str, answer: httpx.Response) -> Finding:
    try:
        detail = str(answer.json().get("detail", ""))[:200]
    except (ValueError, AttributeError):
        detail = ""
    remedy = "give --key" if answer.status_code in (401, 403) else "the check needs the model demo and a live worker"
    return warning("stream", f"{url} was not tested: HTTP {answer.status_code} {detail}".rstrip(), remedy)
