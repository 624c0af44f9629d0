"""Settings: one frozen object per program, read once from the environment (``SPOOL_…``) and from nothing else.

An invalid value or an unknown ``SPOOL_`` variable ends the program with a ``SettingsError`` that names the variable.
Secrets are ``SecretStr``: no ``repr`` and no message shows them.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from spool.access.signing_keys import parse_secrets
from spool.access.static_keys import StaticKey, parse_static_keys, read_static_keys
from spool.errors import SettingsError
from spool.fail_points import VARIABLE as FAIL_POINT
from spool.files.records import FileLimits
from spool.files.urls import check_files_url
from spool.ids import SHARDS_AT_MOST
from spool.instance import VARIABLE as PROCESS_NAME
from spool.jobs.class_shares import ClassShares
from spool.jobs.coalescing import MS_AT_MOST
from spool.jobs.job import OnDisconnect
from spool.jobs.owner_limits import OwnerLimits
from spool.machine_memory import parse_size
from spool.models import file as upstreams
from spool.models.model import DEMO, Model, Upstream
from spool.owners.file import load as load_owners
from spool.owners.limits import NO_OWNERS, Owners
from spool.redis.urls import check_broker_url, check_redis_url
from spool.reread_file import RereadFile
from spool.validation import explain
from spool.webhooks.addresses import AllowedAddresses

PREFIX = "SPOOL_"
_FOR_TESTS = {FAIL_POINT, "SPOOL_SHARDS"}
LOCAL_DEMO = "SPOOL_LOCAL_DEMO"
"""1: this process belongs to a demo on this machine alone, whose parts its user may kill."""
_OWN = {PROCESS_NAME, LOCAL_DEMO}
"""Set by a program for the programs that it starts."""
_OF_CLIENTS = {"SPOOL_URL", "SPOOL_KEY", "SPOOL_KEY_FILE"}
"""Read by the commands of a user, which may share a shell with a server."""
_SECRETS = {
    "SPOOL_API_KEYS",
    "SPOOL_SECRET",
    "SPOOL_UPSTREAM_API_KEY",
    "SPOOL_UPSTREAM_URL",
    "SPOOL_REDIS_URL",
    "SPOOL_BROKER_URL",
}


def _secret(check: Callable[[str], object]) -> AfterValidator:
    """Validates a secret with ``check``, which raises ``ValueError``, unless the secret is empty."""

    def validate(value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            check(value.get_secret_value())
        return value

    return AfterValidator(validate)


def _files_url(value: str) -> str:
    check_files_url(value)
    return value


class Settings(BaseModel):
    """The settings that every program reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    redis_url: Annotated[SecretStr, _secret(check_redis_url)] = SecretStr("")
    """The Redis that stores jobs and logs; empty: the embedded server."""
    broker_url: Annotated[SecretStr, _secret(check_broker_url)] = SecretStr("")
    """Celery's broker; empty: the same Redis."""
    data_dir: Path = Path("data")
    """The directory of the embedded server's files."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    """``auto``: text on a terminal, else JSON."""
    log_content: bool = False
    """Whether prompts and messages of upstreams are logged."""
    models_file: Path | None = None
    upstream_url: str = Field("", repr=False)
    upstream_api_key: SecretStr = SecretStr("")
    demo: bool = True
    """Whether the model ``demo`` is available. Without it an upstream is required."""
    default_model: str = ""
    """The model of a job without ``model``; empty: the first upstream model, or ``demo``."""
    lease_s: float = Field(10.0, ge=1, le=300)
    max_attempts: int = Field(3, ge=1, le=100)
    job_ttl_s: int = Field(86_400, ge=1, le=31_536_000)
    """How long a job and its log are kept after its end."""
    job_timeout_s: float = Field(3600.0, ge=1, le=604_800)
    """Limit for a job's time from submit to end, unless the job sets another one (at most a week)."""
    max_output_bytes: int = Field(4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    """Limit for the text that one attempt produces; a job beyond it fails."""
    files_url: Annotated[str, AfterValidator(_files_url)] = ""
    """Where files are kept, uploaded ones and those that models return: empty for Redis, ``file:///directory``, or
    ``s3://bucket/prefix``."""
    max_files_bytes: int = Field(512 * 1024 * 1024, ge=0, le=2**50)
    """Limit for all files together, as they are stored; 0: none."""
    owner_share: float = Field(0.75, gt=0, le=1)
    """The part of each limit that one owner may use, if API keys name several owners."""
    webhook_allow: str = ""
    """Comma-separated addresses and networks that webhooks may be sent to although they are not public, also without
    TLS."""
    shards: int = Field(1, ge=1, le=SHARDS_AT_MOST)
    """For tests alone, so the README does not list it: several shards on one server gain nothing."""

    @field_validator("upstream_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings of this process. Raises ``SettingsError``, which names the invalid variable."""
        environ = os.environ if environ is None else environ
        refuse_unknown(environ)
        given = {name: environ.get(PREFIX + name.upper()) for name in cls.model_fields}
        try:
            # An empty variable is an unset one.
            settings = cls.model_validate({name: value for name, value in given.items() if value})
        except ValidationError as exc:
            raise SettingsError(_explain(exc, environ)) from None
        settings.check_models()
        return settings

    @field_validator("webhook_allow")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        AllowedAddresses.parse(value)
        return value

    def webhook_addresses(self) -> AllowedAddresses:
        """The addresses that webhooks may be sent to."""
        return AllowedAddresses.parse(self.webhook_allow)

    def check_models(self) -> None:
        """Raise ``SettingsError`` if there is neither the demo nor an upstream."""
        if self.demo:
            return
        if not self.upstreams():
            raise SettingsError(
                "SPOOL_DEMO=0 leaves no model: set SPOOL_UPSTREAM_URL, or name an upstream in SPOOL_MODELS_FILE"
            )
        if self.default_model == DEMO.name:
            raise SettingsError("SPOOL_DEFAULT_MODEL='demo' is not available with SPOOL_DEMO=0: change one of the two")

    def upstreams(self) -> tuple[Upstream, ...]:
        """The configured upstreams, that of ``SPOOL_UPSTREAM_URL`` first."""
        single: tuple[Upstream, ...] = ()
        if self.upstream_url:
            key = self.upstream_api_key.get_secret_value()
            single = (Upstream(name="default", url=self.upstream_url, api_key=key),)
        return single + (upstreams.load(self.models_file) if self.models_file else ())

    def static_models(self) -> tuple[Model, ...]:
        """The models that are known without a call to an upstream; the demo, if enabled, is the last."""
        return self.models_of(self.upstreams())

    def models_of(self, upstreams: Iterable[Upstream]) -> tuple[Model, ...]:
        """The same with these upstreams."""
        demo = (DEMO,) if self.demo else ()
        return (*(m for u in upstreams for m in u.models), *demo)

    def reread_upstreams(self) -> RereadFile[tuple[Upstream, ...]]:
        """The configured upstreams, read again when the models file changes. Raises ``SettingsError``."""

        def load(_path: Path) -> tuple[Upstream, ...]:
            self.check_models()
            return self.upstreams()

        return RereadFile(self.models_file, load, () if self.models_file else self.upstreams())


class WebSettings(Settings):
    """The settings of a web process."""

    host: str = "127.0.0.1"
    """A host name or an IP address; IPv6 with or without brackets."""
    port: int = Field(8000, ge=0, le=65_535)
    web_processes: int = Field(2, ge=1, le=64)
    api_keys: Annotated[SecretStr, _secret(parse_static_keys)] = SecretStr("")
    """``owner=secret,…``. Without this and the next two, every caller is ``anonymous``."""
    api_keys_file: Path | None = None
    """A file with such pairs, one a line, which is read again when it changes."""
    require_key: bool = False
    """Whether a caller must show a credential although none is in the settings: keys are in Redis (``spool keys``)."""
    secret: Annotated[SecretStr, _secret(parse_secrets)] = SecretStr("")
    """Signs links, tokens and sessions; empty: with a key that is kept in Redis. Several, divided by commas: the first
    signs, all verify."""
    trusted_proxies: str = ""
    """Comma-separated addresses and networks of proxies whose ``X-Forwarded-For`` is believed."""
    owner_header: Annotated[str, Field(pattern="^[A-Za-z0-9-]{0,64}$")] = ""
    """The header in which a trusted proxy names the owner of a request that it has authenticated."""
    jwt_jwks_url: str = ""
    """The key set of an identity provider, whose JSON Web Tokens are credentials."""
    jwt_jwks_file: Path | None = None
    """The same as a file."""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_owner_claim: str = Field("sub", min_length=1, max_length=100)
    """The claim that names the owner."""
    jwt_scope_claim: str = Field("scope", min_length=1, max_length=100)
    """The claim that has the scopes; without it, a token has all but ``admin``."""
    requests_per_minute: int = Field(60_000, ge=0, le=10**9)
    """Limit for the requests of one credential that change something, over all processes; 0: none."""
    address_requests_per_minute: int = Field(60_000, ge=0, le=10**9)
    """The same for one address; loopback is not counted."""
    allow_anonymous: bool = False
    """Whether to listen beyond loopback without API keys."""
    allowed_origins: str = ""
    """Comma-separated origins from which browsers may call."""
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    max_prompt_bytes: int = Field(1024 * 1024, ge=16, le=64 * 1024 * 1024)
    max_file_bytes: int = Field(200 * 1024 * 1024, ge=1024, le=48 * 1024**3)
    file_ttl_s: int = Field(30 * 86_400, ge=1, le=31_536_000)
    """How long a file is kept, unless its upload sets it."""
    max_batch_jobs: int = Field(10_000, ge=1, le=100_000)
    coalesce_ms: int = Field(0, ge=0, le=MS_AT_MOST)
    """How long a job's text may be buffered into one entry, unless the job sets it; 0: no buffering."""
    batch_coalesce_ms: int = Field(1000, ge=0, le=MS_AT_MOST)
    """The same for the jobs of a batch."""
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    """What happens to a job of ``/v1`` or ``/ai`` when its last reader disconnects, unless its request says so."""
    max_queued: int = Field(100_000, ge=1, le=100_000_000)
    """Limit for queued jobs; a submit beyond it gets 503."""
    max_streams: int = Field(4000, ge=1, le=100_000)
    """Limit for the concurrent streams, WebSockets and long polls of one web process."""
    max_unsent_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024, le=64 * 1024**3)
    """Limit for the unsent bytes of answers in one web process."""
    memory_watermark: float = Field(0.9, gt=0, le=1)
    """The part of Redis's maxmemory that accepted jobs may fill, including their future output."""
    owner_max_running: int = Field(0, ge=0, le=1_000_000)
    """Limit for one owner's running jobs; 0: its share of all workers' slots. The next three work the same way."""
    owner_max_queued: int = Field(0, ge=0, le=100_000_000)
    owner_max_streams: int = Field(0, ge=0, le=100_000)
    owner_max_bytes: int = Field(0, ge=0, le=2**50)
    owners_file: Path | None = None
    """Limits of single owners, see ``spool.owners.file``; reread when it changes."""
    heartbeat_s: float = Field(15.0, ge=0.2, le=15)
    """Silence on a stream after which a heartbeat is sent."""
    headers_s: float = Field(10.0, ge=0.1, le=600)
    """How long a connection's headers may be incomplete, on a new connection or in a request that has begun; then it is
    closed."""
    body_s: float = Field(60.0, ge=0.1, le=3600)
    """How long a request's body may take to arrive."""
    stall_s: float = Field(30.0, ge=1, le=600)
    """How long a reader may read nothing before its connection is closed."""
    drain_s: float = Field(10.0, ge=0, le=300)
    """How long a stopping web process lets its streams end."""

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        return value[1:-1] if value.startswith("[") and value.endswith("]") else value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _is_https(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ValueError("must begin with https://, or with http:// and a loopback address")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for part in filter(None, (part.strip() for part in value.split(","))):
            ipaddress.ip_network(part)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in filter(None, (o.strip() for o in value.split(","))):
            parts = urlsplit(origin)
            if origin != "*" and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path):
                raise ValueError(f"{origin!r} is not an origin such as https://app.example")
        return value

    def check_exposure(self) -> None:
        """Raise ``SettingsError`` if the network can reach this Spool without API keys or ``allow_anonymous``, and for
        a file of keys that cannot be read."""
        if self.has_jwts() and not self.jwt_audience:
            raise SettingsError("SPOOL_JWT_AUDIENCE is not set: a provider's tokens for other services would be valid")
        if self.owner_header and not self.trusted_proxies:
            raise SettingsError(
                f"SPOOL_OWNER_HEADER={self.owner_header!r} is believed from no proxy: set SPOOL_TRUSTED_PROXIES"
            )
        if self.api_keys_file:
            try:
                read_static_keys(self.api_keys_file)
            except (OSError, ValueError) as exc:
                raise SettingsError(f"SPOOL_API_KEYS_FILE={str(self.api_keys_file)!r}: {exc}") from None
        if self.allow_anonymous or self.needs_credential() or is_loopback(self.host):
            return
        raise SettingsError(
            f"SPOOL_HOST={self.host!r} is reachable from the network without SPOOL_API_KEYS: set them, or "
            "SPOOL_REQUIRE_KEY=1 and create keys with `spool keys create`, or listen on 127.0.0.1, or set "
            "SPOOL_ALLOW_ANONYMOUS=1 to allow everybody"
        )

    def owner_limits(self, max_streams: int) -> OwnerLimits:
        """The limits of one owner. A sole owner may use everything, up to the limits that are set."""
        share = self.owner_share if self.has_several_owners() else 1.0
        return OwnerLimits(
            queued=self.owner_max_queued or (max(1, int(self.max_queued * share)) if share < 1 else 0),
            running=self.owner_max_running,
            streams=self.owner_max_streams or max(1, int(max_streams * share)),
            bytes=self.owner_max_bytes,
            share=share if share < 1 else 0.0,
            watermark=self.memory_watermark,
        )

    def file_limits(self) -> FileLimits:
        """The limits of stored files. One of several owners may use its share."""
        share = self.owner_share if self.has_several_owners() else 0.0
        return FileLimits(self.max_files_bytes, int(self.max_files_bytes * share))

    def static_keys(self) -> tuple[StaticKey, ...]:
        """The keys of ``SPOOL_API_KEYS``."""
        return parse_static_keys(self.api_keys.get_secret_value())

    def needs_credential(self) -> bool:
        """Whether a caller must show a credential."""
        static = self.api_keys.get_secret_value() or self.api_keys_file
        return bool(static or self.require_key or self.owner_header or self.has_jwts())

    def has_jwts(self) -> bool:
        """Whether JSON Web Tokens are credentials."""
        return bool(self.jwt_jwks_url or self.jwt_jwks_file)

    def has_several_owners(self) -> bool:
        """Whether there may be more than one owner: a file's owners can change, and keys can be added in Redis."""
        may_change = self.has_jwts() or self.require_key or self.owner_header or self.api_keys_file is not None
        return bool(may_change) or len({key.owner for key in self.static_keys()}) > 1

    def owners(self) -> RereadFile[Owners]:
        """The owners file. Raises ``SettingsError``."""
        return RereadFile(self.owners_file, load_owners, NO_OWNERS)

    def origins(self) -> list[str]:
        """The CORS allow-list."""
        return [o.strip() for o in self.allowed_origins.split(",") if o.strip()]


class WorkerSettings(Settings):
    """The settings of a worker process."""

    worker_processes: int = Field(2, ge=1, le=64)
    worker_concurrency: int = Field(100, ge=1, le=10_000)
    """Jobs that one worker process runs at a time."""
    worker_drain_s: float = Field(10.0, ge=0, le=3600)
    """How long a stopping worker lets its jobs finish before it hands them back."""
    pack_after_s: float = Field(15.0, ge=0, le=86_400)
    """How long after a job's end its log is packed; 0: never."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65_535)
    """Where a worker answers ``GET /metrics``; 0: nowhere. It asks for no key."""
    interactive_reserve: float = Field(0.2, ge=0, lt=1)
    """The part of each model's limit and of each worker's slots that batch jobs leave free."""
    batch_share: float = Field(0.05, ge=0, le=0.5)
    """The part of claims that batch jobs get at least, while they wait."""

    def class_shares(self) -> ClassShares:
        """The shares of the two classes."""
        return ClassShares(reserve=self.interactive_reserve, batch=self.batch_share)


class RunSettings(WebSettings, WorkerSettings):
    """The settings of ``make run``: all of them."""

    embedded_maxmemory: str = "50%"
    """The embedded server's ``maxmemory``: a size, a part of this machine's or container's memory, or 0."""

    @field_validator("embedded_maxmemory")
    @classmethod
    def _is_size(cls, value: str) -> str:
        parse_size(value)
        return value


def known_variables() -> dict[str, str]:
    """Every ``SPOOL_`` variable with its default, as in the README's table."""
    defaults = {PREFIX + name.upper(): _shown(field.default) for name, field in RunSettings.model_fields.items()}
    return {name: default for name, default in defaults.items() if name not in _FOR_TESTS}


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """Raise ``SettingsError`` for an unknown variable, so that a misspelt one does not pass for unset."""
    known = set(known_variables())
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known | _FOR_TESTS | _OF_CLIENTS | _OWN:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name} is not a setting of Spool{hint}")


def in_local_demo() -> bool:
    """Whether ``spool run`` has started this process for a demo on this machine alone."""
    return os.environ.get(LOCAL_DEMO) == "1"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
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
        lines.append(f"{name}{value}: {explain(error)}")
    return "; ".join(lines)
