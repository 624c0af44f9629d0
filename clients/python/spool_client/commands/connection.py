"""The server and the key of a command."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spool_client.client import Client
from spool_client.commands.exits import USAGE, stop
from spool_client.http import DEFAULT_URL

F = TypeVar("F", bound=Callable[..., Any])

_KEY_FILE = Path("~/.config/spool/key")


def url_option(function: F) -> F:
    """``--url``, which every command has."""
    return click.option(
        "--url", envvar="SPOOL_URL", default=DEFAULT_URL, show_default=True, help="The server; else SPOOL_URL."
    )(function)


def json_option(text: str) -> Callable[[F], F]:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def client_of(url: str) -> Client:
    """A client. The key is never an argument, since every user of the machine sees those."""
    return Client(url, key())


def key() -> str | None:
    """SPOOL_KEY, else the content of the file that SPOOL_KEY_FILE names, else of ``~/.config/spool/key``."""
    if "SPOOL_KEY" in os.environ:
        return os.environ["SPOOL_KEY"]
    named = os.environ.get("SPOOL_KEY_FILE")
    path = Path(named or _KEY_FILE).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        if named:
            stop(USAGE, f"SPOOL_KEY_FILE: there is no file {named}")
        return None
    except (OSError, UnicodeDecodeError) as exc:
        stop(USAGE, f"the key's file {path} cannot be read: {exc}")
