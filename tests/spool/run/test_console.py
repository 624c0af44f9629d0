"""The supervisor's output: prefixes, colours, and a reader that has left."""

from __future__ import annotations

import io
import os

from spool.run.console import Console, wants_colour


def test_console_with_colour_paints_the_name_alone() -> None:
    """The line itself is passed on as it is."""
    out = io.BytesIO()
    Console(out, ["web"], colour=True).write("web", [b"\xffline"])
    assert out.getvalue() == b"\033[36mweb | \033[0m\xffline\n"


def test_console_whose_reader_left_drops_the_output() -> None:
    """`spool run | head` ends the output, not Spool."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as out:
        console = Console(out, ["web"], colour=False)
        console.say("web", "one")
        console.say("web", "two")


def test_colour_only_where_it_is_wanted() -> None:
    """A file gets none; NO_COLOR and a dumb terminal get none."""

    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    assert wants_colour(Terminal(), {})
    assert not wants_colour(Terminal(), {"NO_COLOR": "1"})
    assert not wants_colour(Terminal(), {"TERM": "dumb"})
    assert not wants_colour(io.BytesIO(), {})
