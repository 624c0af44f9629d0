"""A text that grows by pieces."""

from __future__ import annotations

from spool.growing_text import GrowingText


def grown(*pieces: str) -> GrowingText:
    """A text of these pieces."""
    text = GrowingText()
    for piece in pieces:
        text.add(piece)
    return text


def test_text_is_its_pieces() -> None:
    """Any number of pieces makes one text, which may be read in between and grow on."""
    pieces = [f"{number}," for number in range(2000)]
    text = grown(*pieces)
    assert (str(text), text.size) == ("".join(pieces), len("".join(pieces)))
    text.add("end")
    assert str(text) == str(text) == "".join(pieces) + "end"
    assert str(GrowingText()) == ""


def test_clear() -> None:
    """A cleared text is empty and grows anew."""
    text = grown(*["a"] * 600)
    text.clear()
    assert (str(text), text.size) == ("", 0)
    text.add("b")
    assert str(text) == "b"


def test_fork() -> None:
    """A copy has the text so far; from then on both grow apart."""
    text = grown("a", "b")
    copy = text.fork()
    text.add("c")
    copy.add("d")
    assert (str(text), text.size) == ("abc", 3)
    assert (str(copy), copy.size) == ("abd", 3)
