"""The pictures in a chat's answer: files, or links to them.

They come as OpenRouter and LiteLLM have them: ``images``, a list of ``{"image_url": {"url"}}``, beside the text.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from worker.backends import File, Text

_DATA = re.compile(r"data:(image/[a-z0-9.+-]{1,60});base64,")
_LINK = re.compile(r"https?://[^\s()<>\"\\]{1,2000}")


class NoPicture(ValueError):
    """The value is neither a picture nor a link to one."""


def picture_of(value: Any) -> File | Text:
    """The picture, or Markdown that links to it where the upstream keeps it. Raises ``NoPicture``."""
    inner = value.get("image_url") if isinstance(value, dict) else None
    url = inner.get("url") if isinstance(inner, dict) else inner
    if not isinstance(url, str):
        raise NoPicture("a picture without a URL")
    if _LINK.fullmatch(url):
        return Text(f"![picture]({url})")
    head = _DATA.match(url)
    if head is None:
        raise NoPicture("a picture that is neither base64 nor a link")
    try:
        return File(head[1], base64.b64decode(url[head.end() :], validate=True))
    except (binascii.Error, ValueError) as exc:
        raise NoPicture("a picture whose base64 is invalid") from exc
