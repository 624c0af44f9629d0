"""Pictures in answers, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from worker.backends import File, Text
from worker.backends.openai.pictures import NoPicture, picture_of


def image(url: Any) -> dict[str, Any]:
    """A picture as upstreams send it."""
    return {"type": "image_url", "image_url": {"url": url}}


def test_picture() -> None:
    """A picture in base64 is a file of its type."""
    assert picture_of(image("data:image/png;base64,AAEC")) == File("image/png", b"\0\1\2")
    assert picture_of({"image_url": "data:image/webp;base64,"}) == File("image/webp", b"")


def test_link() -> None:
    """A picture that the upstream keeps is a link in the text, which is not fetched."""
    url = "https://files.example/1.png?a=b"
    assert picture_of(image(url)) == Text(f"![picture]({url})")


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        image(7),
        image("data:text/html;base64,AAEC"),
        image("data:image/png;base64,A*EC"),
        image("data:image/png,abc"),
        image("file:///etc/passwd"),
        image("https://a.example/) [x](javascript:0"),
        image("https://a.example/" + "x" * 3000),
    ],
    ids=["nothing", "empty", "number", "page", "broken", "unencoded", "path", "markdown", "long"],
)
def test_no_picture(value: Any) -> None:
    """Anything else is named."""
    with pytest.raises(NoPicture):
        picture_of(value)
