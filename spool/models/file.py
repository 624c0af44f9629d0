"""Reads the models file (TOML): the upstreams and the models of each.

[[upstream]]
name = "gpu"                          # unique
url = "http://127.0.0.1:8001/v1"
api_key_env = "GPU_KEY"               # or api_key = "…"
kind = "openai"                       # or "azure", with api_version and deployment

[[upstream.model]]                    # none: all models that the server lists at /models
name = "small"                        # the name for callers
upstream_model = "org/small-1b"       # the server's name for it; default: the name
max_running = 8                       # running jobs at a time, over all workers; 0: no limit
continue = false                      # or the style of continuing a partial answer, see below
start_s = 600                         # a job that waits longer ends with start_timeout; unset: until its own deadline
first_token_s = 120                   # further limits, in seconds; see spool.models.model.Model
between_tokens_s = 60
alive_s = 600                         # replaces both while the server sends comments (": keep-alive")

``continue`` is for servers that can continue an incomplete assistant message:

    "vllm"       vLLM, SGLang, TGI: continue_final_message: true and add_generation_prompt: false; ``true`` is the same
    "assistant"  llama.cpp, Ollama, LMDeploy, and others whose chat template leaves a last assistant message open
    "prefix"     DeepSeek (https://api.deepseek.com/beta): the message has prefix: true
    "mistral"    Mistral's API: the same, but it repeats the message first

OpenAI and Azure cannot continue. Each worker probes the model with a short question when it starts: the model answers
once in full, and once from the middle of that answer. Only if both join, a partial answer that lost its worker is
continued (``continued``). Otherwise, and for output beyond plain text, it starts from scratch (``restarted``).
``GET /models`` shows which.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spool.errors import SettingsError
from spool.models.model import CONTINUE_STYLES, Model, Upstream

_UPSTREAM_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "url": str,
    "api_key": str,
    "api_key_env": str,
    "kind": str,
    "api_version": str,
    "deployment": str,
    "model": list,
}
_NUMBER = (int, float)
_MODEL_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "upstream_model": str,
    "max_running": int,
    "continue": (bool, str),
    "start_s": _NUMBER,
    "first_token_s": _NUMBER,
    "between_tokens_s": _NUMBER,
    "alive_s": _NUMBER,
}


def load(path: Path) -> tuple[Upstream, ...]:
    """The upstreams of the models file at ``path``. Raises ``SettingsError``, which contains the place of the fault."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingsError(f"SPOOL_MODELS_FILE={str(path)!r}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"SPOOL_MODELS_FILE={str(path)!r}: {exc}") from exc
    place = f"SPOOL_MODELS_FILE={str(path)!r}"
    _check(data, {"upstream": list}, place)
    upstreams = tuple(_upstream(item, f"{place}: upstream[{i}]") for i, item in enumerate(data.get("upstream", [])))
    _unique([u.name for u in upstreams], place, "upstream")
    _unique([m.name for u in upstreams for m in u.models] + ["demo"], place, "model")
    return upstreams


def _upstream(item: Any, place: str) -> Upstream:
    _check(item, _UPSTREAM_TYPES, place, required=("name", "url"))
    kind = item.get("kind", "openai")
    if kind not in ("openai", "azure"):
        raise SettingsError(f"{place}.kind={kind!r}: must be 'openai' or 'azure'")
    if not item["url"].startswith(("http://", "https://")):
        raise SettingsError(f"{place}.url: must begin with http:// or https://")
    return Upstream(
        name=item["name"],
        url=item["url"].rstrip("/"),
        api_key=_api_key(item, place),
        kind=kind,
        api_version=item.get("api_version", ""),
        deployment=item.get("deployment", ""),
        models=tuple(_model(m, item["name"], f"{place}.model[{i}]") for i, m in enumerate(item.get("model", []))),
    )


def _api_key(item: Mapping[str, Any], place: str) -> str:
    variable = item.get("api_key_env")
    if variable is None:
        return str(item.get("api_key", ""))
    if variable not in os.environ:
        raise SettingsError(f"{place}.api_key_env={variable!r}: no such environment variable")
    return os.environ[variable]


def _model(item: Any, upstream: str, place: str) -> Model:
    _check(item, _MODEL_TYPES, place, required=("name",))
    for name, value in item.items():
        if not isinstance(value, bool) and isinstance(value, _NUMBER) and value < 0:
            raise SettingsError(f"{place}.{name}={value!r}: must not be negative")
    rest: dict[str, Any] = {k: float(v) for k, v in item.items() if k.endswith("_s")}
    return Model(
        name=item["name"],
        backend="openai",
        upstream=upstream,
        upstream_model=item.get("upstream_model", item["name"]),
        max_running=item.get("max_running", 0),
        continue_style=_continue_style(item.get("continue", False), place),
        **rest,
    )


def _continue_style(value: bool | str, place: str) -> str:
    if isinstance(value, bool):
        return "vllm" if value else ""
    if value not in CONTINUE_STYLES:
        known = ", ".join(map(repr, CONTINUE_STYLES))
        raise SettingsError(f"{place}.continue={value!r}: must be true, false or one of {known}")
    return value


def _check(item: Any, types: Mapping[str, type | tuple[type, ...]], place: str, required: tuple[str, ...] = ()) -> None:
    if not isinstance(item, dict):
        raise SettingsError(f"{place}: must be a table")
    for name, value in item.items():
        if name not in types:
            raise SettingsError(f"{place}.{name}: unknown; known are {', '.join(types)}")
        expected = types[name]
        allowed = expected if isinstance(expected, tuple) else (expected,)
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise SettingsError(f"{place}.{name}: has the wrong type ({type(value).__name__})")
    for name in required:
        if not item.get(name):
            raise SettingsError(f"{place}.{name}: is missing or empty")


def _unique(names: list[str], place: str, kind: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{place}: {kind} {name!r} is defined twice")
