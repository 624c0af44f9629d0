"""The messages of failed validations: pydantic's, worded like Spool's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SUBJECT = re.compile(r"^\w+ should ")
"""``Input should be …``, ``String should match …``: the message follows the name of the value."""


def explain(error: Mapping[str, Any]) -> str:
    """What is wrong with a value, for a message that names the value first: ``must be a valid integer``."""
    message = str(error["msg"]).removeprefix("Value error, ").partition(", unable to parse")[0]
    return _SUBJECT.sub("must ", message)
