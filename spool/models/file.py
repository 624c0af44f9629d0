"""Reads the models file (TOML): the upstreams and the models of each. Webs and workers read it again when it changes.

[[upstream]]
name = "gpu"                          # unique
url = "http://127.0.0.1:8001/v1"
api_key_env = "GPU_KEY"               # or api_key = "…"
kind = "openai"                       # or "azure", with api_version and deployment

[[upstream.model]]                    # none: all models that the server lists at /models
name = "small"                        # the name for callers
upstream_model = "org/small-1b"       # the server's name for it; default: the name
max_running = 8                       # running jobs at a time, over all workers; 0: no limit
rpm = 600                             # requests a minute, over all workers; 0: no limit
tpm = 50_000                          # tokens a minute, estimated when a job begins; 0: no limit
continue = false                      # or the style of continuing a partial answer, see below
reasoning = "reasoning_content"       # or "reasoning", "off": how the reasoning of earlier turns goes back, see below
stream = true                         # false: ask for whole answers; unset: a server that refuses to stream is noticed
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

``reasoning`` is for models that think between tool calls, or reread what they thought (DeepSeek, Kimi, GLM, MiniMax).
It names the field of an assistant's message in which the server wants the reasoning of all earlier turns; ``"off"``:
none. Unset: ``reasoning_content`` of messages with tool calls, and none to OpenAI and Azure, which refuse it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, field_validator

from spool.models.model import CONTINUE_STYLES, DEMO, REASONING_STYLES, Model, Upstream
from spool.toml_file import Table, check_unique, place_of, read_tables

VARIABLE = "SPOOL_MODELS_FILE"
_Name = Annotated[str, Field(min_length=1)]
_Seconds = Annotated[FiniteFloat, Field(ge=0)]
_SECRETS = frozenset({"url", "api_key"})


class _Model(Table):
    name: _Name
    upstream_model: str = ""
    max_running: int = Field(0, ge=0)
    rpm: int = Field(0, ge=0, le=1_000_000_000)
    tpm: int = Field(0, ge=0, le=1_000_000_000)
    continue_style: str = Field("", alias="continue")
    reasoning: str = ""
    streams: bool = Field(True, alias="stream")
    start_s: _Seconds | None = None
    first_token_s: _Seconds | None = None
    between_tokens_s: _Seconds | None = None
    alive_s: _Seconds | None = None

    @field_validator("continue_style", mode="plain")
    @classmethod
    def _is_style(cls, value: object) -> str:
        if isinstance(value, bool):
            return "vllm" if value else ""
        if not isinstance(value, str) or value not in CONTINUE_STYLES:
            raise ValueError(f"must be true, false or one of {', '.join(map(repr, CONTINUE_STYLES))}")
        return value

    @field_validator("reasoning")
    @classmethod
    def _is_field(cls, value: str) -> str:
        if value not in REASONING_STYLES:
            raise ValueError(f"must be one of {', '.join(map(repr, REASONING_STYLES))}")
        return value

    def model(self, upstream: str) -> Model:
        given = self.model_dump(exclude_unset=True) | {"upstream_model": self.upstream_model or self.name}
        return Model(backend="openai", upstream=upstream, **given)


class _Upstream(Table):
    name: _Name
    url: str
    api_key: str = ""
    api_key_env: str | None = None
    kind: Literal["openai", "azure"] = "openai"
    api_version: str = ""
    deployment: str = ""
    models: list[_Model] = Field([], alias="model")

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _is_set(cls, value: str | None) -> str | None:
        if value is not None and value not in os.environ:
            raise ValueError("no such environment variable")
        return value

    def upstream(self) -> Upstream:
        return Upstream(
            name=self.name,
            url=self.url,
            api_key=self.api_key if self.api_key_env is None else os.environ[self.api_key_env],
            kind=self.kind,
            api_version=self.api_version,
            deployment=self.deployment,
            models=tuple(model.model(self.name) for model in self.models),
        )


class _File(Table):
    upstreams: list[_Upstream] = Field([], alias="upstream")


def load(path: Path) -> tuple[Upstream, ...]:
    """The upstreams of the models file at ``path``. Raises ``SettingsError`` with the file, the place in it and, unless
    it may be secret, the value."""
    file = read_tables(path, VARIABLE, _File, _SECRETS)
    upstreams = tuple(entry.upstream() for entry in file.upstreams)
    place = place_of(path, VARIABLE)
    check_unique([u.name for u in upstreams], place, "upstream")
    check_unique([m.name for u in upstreams for m in u.models] + [DEMO.name], place, "model")
    return upstreams
