"""Settings, from the environment: prefix ``SPOOL_``, one frozen object per program, read once at its edge.

A value that cannot be used, and a ``SPOOL_`` variable that nobody knows, end the program with a ``SettingsError``
that names the variable. Secrets are ``SecretStr``: they show in no ``repr`` and no message.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from spool.errors import SettingsError
from spool.fail_points import VARIABLE as FOR_TESTS
from spool.jobs.coalescing import MS_AT_MOST
from spool.jobs.owner_limits import OwnerLimits
from spool.machine_memory import parse_size
from spool.models import file as upstreams
from spool.models.model import DEMO, Model, Upstream
from spool.redis.urls import check_broker_url, check_redis_url

PREFIX = "SPOOL_"
_SECRETS = {"SPOOL_API_KEYS", "SPOOL_UPSTREAM_API_KEY", "SPOOL_UPSTREAM_URL", "SPOOL_REDIS_URL", "SPOOL_BROKER_URL"}


class Settings(BaseSettings):
    """What every program reads."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    redis_url: SecretStr = SecretStr("")
    """Where jobs and logs are; empty: the embedded server."""
    broker_url: SecretStr = SecretStr("")
    """Where bells ring; empty: the same Redis."""
    data_dir: Path = Path("data")
    """Everything that the embedded server keeps."""
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    log_format: str = Field("json", pattern="^(json|text)$")
    models_file: Path | None = None
    upstream_url: str = Field("", repr=False)
    upstream_api_key: SecretStr = SecretStr("")
    demo: bool = True
    """Whether the model ``demo`` can be asked. Without it there must be an upstream."""
    default_model: str = ""
    """What a job without ``model`` asks for; empty: the first upstream model, or ``demo``."""
    lease_s: float = Field(10.0, ge=1, le=300)
    max_attempts: int = Field(3, ge=1, le=100)
    job_ttl_s: int = Field(86_400, ge=1, le=31_536_000)
    """How long a job and its log are kept, from its end."""
    job_timeout_s: float = Field(3600.0, ge=1, le=604_800)
    """How long a job may take from submit to end, unless it asks for less or more (at most a week)."""
    max_output_bytes: int = Field(4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    """The most text that one attempt may produce; a job over it fails."""

    @field_validator("upstream_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            check_redis_url(value.get_secret_value())
        return value

    @field_validator("broker_url")
    @classmethod
    def _is_broker(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            check_broker_url(value.get_secret_value())
        return value

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings of this process; ``SettingsError`` names what is wrong."""
        environ = os.environ if environ is None else environ
        refuse_unknown(environ)
        values = {
            name: environ[PREFIX + name.upper()]
            for name in cls.model_fields
            if environ.get(PREFIX + name.upper(), "") != ""
        }
        try:
            settings = cls.model_validate(values)
        except ValidationError as exc:
            raise SettingsError(_explain(exc, environ)) from None
        settings.check_models()
        return settings

    def check_models(self) -> None:
        """``SettingsError`` if without the demo there is nothing to ask."""
        if self.demo:
            return
        if not self.upstreams():
            raise SettingsError(
                "SPOOL_DEMO=0 leaves no model to ask: set SPOOL_UPSTREAM_URL, or name an upstream in SPOOL_MODELS_FILE"
            )
        if self.default_model == DEMO.name:
            raise SettingsError("SPOOL_DEFAULT_MODEL='demo' cannot be asked with SPOOL_DEMO=0: set one of the two")

    def upstreams(self) -> tuple[Upstream, ...]:
        """The upstreams that are configured: the one of ``SPOOL_UPSTREAM_URL`` first."""
        single: tuple[Upstream, ...] = ()
        if self.upstream_url:
            key = self.upstream_api_key.get_secret_value()
            single = (Upstream(name="default", url=self.upstream_url, api_key=key),)
        return single + (upstreams.load(self.models_file) if self.models_file else ())

    def static_models(self) -> tuple[Model, ...]:
        """The models that are known without asking an upstream; the demo, unless it is switched off, last."""
        demo = (DEMO,) if self.demo else ()
        return (*(m for u in self.upstreams() for m in u.models), *demo)


class WebSettings(Settings):
    """What a web process reads."""

    host: str = "127.0.0.1"
    """A name or an address, IPv6 too, with or without brackets."""
    port: int = Field(8000, ge=0, le=65_535)
    web_processes: int = Field(2, ge=1, le=64)
    api_keys: SecretStr = SecretStr("")
    """``owner=secret,…``; empty: everybody is ``anonymous``."""
    allow_anonymous: bool = False
    """Listen beyond loopback although there are no keys."""
    allowed_origins: str = ""
    """Comma-separated origins that browsers may call from."""
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    max_prompt_bytes: int = Field(1024 * 1024, ge=16, le=64 * 1024 * 1024)
    max_batch_jobs: int = Field(10_000, ge=1, le=100_000)
    coalesce_ms: int = Field(0, ge=0, le=MS_AT_MOST)
    """How long text of a job that does not say may be held back, to become one entry; 0: not at all."""
    batch_coalesce_ms: int = Field(1000, ge=0, le=MS_AT_MOST)
    """The same for the jobs of a batch."""
    max_queued: int = Field(100_000, ge=1, le=100_000_000)
    """Jobs that may wait at a time; a submit beyond it gets 503."""
    max_streams: int = Field(4000, ge=1, le=100_000)
    """Streams, WebSockets and long polls that one web process carries at a time."""
    max_unsent_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024, le=64 * 1024**3)
    """Bytes of answers that may wait in one web process for their clients to take them."""
    memory_watermark: float = Field(0.9, gt=0, le=1)
    """The part of Redis's maxmemory that accepted jobs may fill, with what they will write."""
    owner_share: float = Field(0.75, gt=0, le=1)
    """Where API keys name several owners: the part of each limit that one of them may have."""
    owner_max_running: int = Field(0, ge=0, le=1_000_000)
    """Jobs of one owner that run at a time; 0: its share of all workers' slots. So for the next three."""
    owner_max_queued: int = Field(0, ge=0, le=100_000_000)
    owner_max_streams: int = Field(0, ge=0, le=100_000)
    owner_max_bytes: int = Field(0, ge=0, le=2**50)
    heartbeat_s: float = Field(15.0, ge=0.2, le=15)
    """Silence on a stream after which a heartbeat is sent."""
    headers_s: float = Field(10.0, ge=0.1, le=600)
    """A new connection, or a request that has begun, whose headers are not whole for so long is closed."""
    body_s: float = Field(60.0, ge=0.1, le=3600)
    """How long a request's body may take to arrive."""
    stall_s: float = Field(30.0, ge=1, le=600)
    """A reader that takes nothing for so long is closed."""
    drain_s: float = Field(10.0, ge=0, le=300)
    """How long a web process that was told to stop lets its streams end."""

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        return value[1:-1] if value.startswith("[") and value.endswith("]") else value

    @field_validator("api_keys")
    @classmethod
    def _are_pairs(cls, value: SecretStr) -> SecretStr:
        parse_api_keys(value)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in filter(None, (o.strip() for o in value.split(","))):
            parts = urlsplit(origin)
            if origin != "*" and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path):
                raise ValueError(f"{origin!r} is no origin such as https://app.example")
        return value

    def check_exposure(self) -> None:
        """``SettingsError`` if anybody on the network could use this Spool, and nobody said that they may."""
        if self.allow_anonymous or self.owners_by_key() or is_loopback(self.host):
            return
        raise SettingsError(
            f"SPOOL_HOST={self.host!r} lets the network in, and there are no SPOOL_API_KEYS: set them, "
            "or listen on 127.0.0.1, or set SPOOL_ALLOW_ANONYMOUS=1 if everybody may use this Spool"
        )

    def owner_limits(self, max_streams: int) -> OwnerLimits:
        """What one owner may have. An owner who is the only one may have everything, but for what is set."""
        share = self.owner_share if len(set(self.owners_by_key().values())) > 1 else 1.0
        return OwnerLimits(
            queued=self.owner_max_queued or (max(1, int(self.max_queued * share)) if share < 1 else 0),
            running=self.owner_max_running,
            streams=self.owner_max_streams or max(1, int(max_streams * share)),
            bytes=self.owner_max_bytes,
            share=share if share < 1 else 0.0,
            watermark=self.memory_watermark,
        )

    def owners_by_key(self) -> dict[str, str]:
        """Secret → owner."""
        return parse_api_keys(self.api_keys)

    def origins(self) -> list[str]:
        """The CORS allow-list."""
        return [o.strip() for o in self.allowed_origins.split(",") if o.strip()]


class WorkerSettings(Settings):
    """What a worker process reads."""

    worker_processes: int = Field(2, ge=1, le=64)
    worker_concurrency: int = Field(100, ge=1, le=10_000)
    """Jobs that one worker process runs at a time."""
    worker_drain_s: float = Field(10.0, ge=0, le=3600)
    """How long a worker that was told to stop lets its jobs finish before it hands them back."""


class RunSettings(WebSettings, WorkerSettings):
    """What ``make run`` reads: everything."""

    embedded_maxmemory: str = "50%"
    """The embedded server's ``maxmemory``: a size, a part of the memory that this machine or container has, or 0."""

    @field_validator("embedded_maxmemory")
    @classmethod
    def _is_size(cls, value: str) -> str:
        parse_size(value)
        return value


def parse_api_keys(value: SecretStr) -> dict[str, str]:
    """``owner=secret,…`` as secret → owner. Raises ``ValueError`` that shows no secret."""
    owners: dict[str, str] = {}
    for number, pair in enumerate(filter(None, (p.strip() for p in value.get_secret_value().split(","))), 1):
        owner, equals, secret = pair.partition("=")
        if not equals or not owner or len(secret) < 8:
            raise ValueError(f"pair {number} is not owner=secret with a secret of at least 8 characters")
        if not all(" " <= character <= "~" for character in secret):
            raise ValueError(f"pair {number}: a secret is ASCII letters, digits and signs, since a header carries it")
        if not owner.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(owner) > 64:
            raise ValueError(f"pair {number}: an owner is 1 to 64 letters, digits, '-', '_' or '.'")
        if secret in owners:
            raise ValueError(f"pair {number}: the same secret is there twice")
        owners[secret] = owner
    return owners


def known_variables() -> dict[str, str]:
    """Every ``SPOOL_`` variable and its default, as the README's table shows it."""
    return {PREFIX + name.upper(): _shown(field.default) for name, field in RunSettings.model_fields.items()}


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """A misspelt variable must not pass for an unset one."""
    known = known_variables()
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and name != FOR_TESTS:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name} is no setting of Spool{hint}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return "" if default is None else str(default)


def _explain(exc: ValidationError, environ: Mapping[str, str]) -> str:
    lines = []
    for error in exc.errors(include_url=False, include_input=False):
        name = PREFIX + str(error["loc"][0]).upper()
        value = "" if name in _SECRETS else f"={environ.get(name, '')!r}"
        lines.append(f"{name}{value}: {error['msg']}")
    return "; ".join(lines)
