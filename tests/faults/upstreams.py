"""A stack whose models file names a scripted upstream, and scripts that several fault tests use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.scripted_upstream import Call, Script, ScriptedUpstream
from tests.stack import Stack, running_stack, wait_for

MODEL: dict[str, Any] = {"model": "m"}
"""What a submit says beside its prompt to get the scripted upstream."""


@contextmanager
def stack_with(
    directory: Path, *scripts: Script, limits: dict[str, Any] | None = None, **options: Any
) -> Iterator[tuple[Stack, ScriptedUpstream]]:
    """A Spool whose models file names a scripted upstream's model ``m``, with these limits."""
    with ScriptedUpstream(*scripts) as upstream:
        path = directory / "models.toml"
        path.write_text("\n".join(_upstream("m", upstream, limits or {})))
        with running_stack(directory, **{"workers": 1, "MODELS_FILE": path, **options}) as stack:
            yield stack, upstream


@contextmanager
def stack_with_many(
    directory: Path,
    models: dict[str, list[Script]],
    *,
    limits: dict[str, dict[str, Any]] | None = None,
    **options: Any,
) -> Iterator[tuple[Stack, dict[str, ScriptedUpstream]]]:
    """A Spool whose models file names a scripted upstream for each of these models. ``limits``: further fields of a
    model."""
    with ExitStack() as exits:
        upstreams = {name: exits.enter_context(ScriptedUpstream(*scripts)) for name, scripts in models.items()}
        path = directory / "models.toml"
        path.write_text(
            "\n".join(line for pair in upstreams.items() for line in _upstream(*pair, (limits or {}).get(pair[0], {})))
        )
        settings = {"workers": 1, "MODELS_FILE": path, **options}
        yield exits.enter_context(running_stack(directory, **settings)), upstreams


def _upstream(model: str, upstream: ScriptedUpstream, limits: dict[str, Any]) -> list[str]:
    lines = [f"{name} = {value}" for name, value in limits.items()]
    names = [f'name = "of-{model}"', f'url = "{upstream.url}"', "[[upstream.model]]", f'name = "{model}"']
    return ["[[upstream]]", *names, *lines]


def silent(call: Call) -> None:
    """Not even an answer's head."""
    call.hold(60)


def stalls(call: Call) -> None:
    """A beginning, and nothing more."""
    call.begin()
    call.text("Hel")
    call.hold(60)


def breaks(call: Call) -> None:
    """A beginning, and a reset."""
    call.begin()
    call.text("Wro")
    call.drop()


def closed_s(upstream: ScriptedUpstream, number: int = 1, within_s: float = 5.0) -> float:
    """Wait until the upstream has seen the client of a call go; how many seconds after the call that was."""
    call = upstream.calls[number - 1]
    wait_for(lambda: call.gone_at, f"call {number} is closed", within_s)
    return round((call.gone_at or 0) - call.at, 2)
