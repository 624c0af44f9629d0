"""Times in requests: text with an offset, as RFC 3339 writes it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")


def _text_only(value: Any) -> Any:
    # Pydantic would also take a number, or digits, as seconds or milliseconds by its size: 20261130 is a day of 1970.
    if value is not None and not (isinstance(value, str) and _DAY.match(value)):
        raise ValueError("must be a time in RFC 3339, with its offset")
    return value


Time = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text_only)]
"""A time. Its text must begin with a day."""
