"""``spool keys``: API keys in the Redis of SPOOL_REDIS_URL, or of a ``spool run`` on this data directory.

Exit codes: 0, 1 if something could not be done, 2 for a wrong argument or setting.
"""

from __future__ import annotations

import re
import time
from typing import Any

import click
import orjson

from spool.access.caller import BY_DEFAULT, is_owner, parse_scopes
from spool.access.key_store import KeyStore
from spool.access.keys import PREFIX, Key
from spool.access.limits import KeyLimits
from spool.access.signing_keys import SigningKeys
from spool.cli.one_line_errors import OneLineErrors
from spool.errors import SettingsError
from spool.redis.link import RedisLink
from spool.run import programs
from spool.settings import WebSettings

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group(cls=OneLineErrors)
def keys() -> None:
    """Create, list, limit and revoke API keys."""


def _store() -> tuple[KeyStore, WebSettings]:
    settings = WebSettings.read()
    return KeyStore(_link(settings)), settings


def _link(settings: WebSettings) -> RedisLink:
    return RedisLink(programs.redis_url_of(settings), connections=1, name="spool-keys")


def _life_ms(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> int:
    if value is None:
        return 0
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", value)
    if match is None:
        raise click.BadParameter("must be a number and s, m, h or d, such as 90d")
    return int(match[1]) * _UNITS[match[2]] * 1000


def _scopes(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> frozenset[str]:
    try:
        return parse_scopes(value) if value is not None else BY_DEFAULT
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


def _owner(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value and not is_owner(value):
        raise click.BadParameter("must be 1 to 64 letters, digits, '-', '_' or '.'")
    return value


def _limits(values: tuple[str, ...]) -> KeyLimits:
    pairs = [value.partition("=") for value in values]
    try:
        return KeyLimits.of({name: int(number) for name, _, number in pairs})
    except ValueError as exc:
        raise click.BadParameter(f"{exc}; write NAME=NUMBER, such as requests_per_minute=600") from exc


def _metadata(values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    return {name[:64]: text[:512] for name, _, text in pairs[:16]}


@keys.command()
@click.option("--owner", required=True, callback=_owner, help="The owner of the jobs that are submitted with it.")
@click.option("--name", default="", help="A name for people.")
@click.option("--scopes", callback=_scopes, help="jobs:read,jobs:write,…; * for all but admin, the default.")
@click.option("--model", "models", multiple=True, help="A model that it may name; several times for several.")
@click.option("--expires", "life_ms", callback=_life_ms, help="Its life, such as 90d or 12h.")
@click.option("--limit", "limits", multiple=True, help="requests_per_minute=600, streams=20, tokens_per_day=…")
@click.option("--metadata", multiple=True, help="NAME=TEXT.")
def create(
    owner: str,
    name: str,
    scopes: frozenset[str],
    models: tuple[str, ...],
    life_ms: int,
    limits: tuple[str, ...],
    metadata: tuple[str, ...],
) -> None:
    """Create a key and print it. It cannot be shown again."""
    draft = Key(
        id="",
        owner=owner,
        digest=b"",
        name=name[:100],
        scopes=scopes,
        models=frozenset(models) or None,
        limits=_limits(limits),
        metadata=_metadata(metadata),
        expires_ms=int(time.time() * 1000) + life_ms if life_ms else 0,
    )
    store, settings = _store()
    key, shown = store.create(draft)
    click.echo(f"key {key.id} of {key.owner}", err=True)
    if not settings.needs_credential():
        click.echo("note: a web started with these settings ignores keys: set SPOOL_REQUIRE_KEY=1", err=True)
    click.echo(shown)


@keys.command("list")
@click.option("--owner", default="", callback=_owner, help="Only keys of this owner.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def list_keys(owner: str, as_json: bool) -> None:
    """List keys, oldest first.

    Revoked and expired ones are listed for 30 days.
    """
    for key in _store()[0].all(owner):
        click.echo(orjson.dumps(_document(key)) if as_json else _line(key))


@keys.command()
@click.argument("key_id")
def show(key_id: str) -> None:
    """Show a key as JSON, without its secret."""
    click.echo(orjson.dumps(_document(_store()[0].get(key_id)), option=orjson.OPT_INDENT_2))


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke a key and end its open streams.

    Every web refuses it within 5 s.
    """
    click.echo(_line(_store()[0].revoke(key_id)))


@keys.command()
@click.argument("key_id")
@click.argument("limits", nargs=-1)
def limit(key_id: str, limits: tuple[str, ...]) -> None:
    """Replace the limits of a key.

    LIMITS are NAME=NUMBER …; without any, the key has none.
    """
    click.echo(_line(_store()[0].limit(key_id, _limits(limits))))


@keys.command("rotate-signing")
@click.option("--now", is_flag=True, help="What was signed before becomes invalid at once, not at the next rotation.")
def rotate_signing(now: bool) -> None:
    """Sign links, tokens and sessions anew.

    From now on a new key signs them. Not where SPOOL_SECRET is set.
    """
    settings = WebSettings.read()
    if settings.secret.get_secret_value():
        raise SettingsError("SPOOL_SECRET signs links: put a new secret before the old one there")
    SigningKeys(_link(settings)).rotate(drops_old=now)
    click.echo("rotated")


def _state(key: Key) -> str:
    if key.revoked_ms:
        return "revoked"
    return "valid" if key.is_valid(int(time.time() * 1000)) else "expired"


def _line(key: Key) -> str:
    limits = " ".join(f"{name}={value}" for name, value in key.limits.document().items())
    parts = [f"{PREFIX}{key.id}_…", key.owner, _state(key), key.name, ",".join(sorted(key.scopes)), limits]
    return "  ".join(part for part in parts if part)


def _document(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "state": _state(key),
        "scopes": sorted(key.scopes),
        "models": None if key.models is None else sorted(key.models),
        "limits": key.limits.document(),
        "metadata": dict(key.metadata),
        "created_ms": key.created_ms,
        "expires_ms": key.expires_ms or None,
        "revoked_ms": key.revoked_ms or None,
        "last_used_ms": key.used_ms or None,
    }
