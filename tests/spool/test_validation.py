"""The words in which a wrong value is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from spool.validation import explain


class Shape(BaseModel):
    """Fields that pydantic and a check of ours refuse."""

    number: int = 1
    text: str = Field("info", pattern="^(debug|info)$")
    few: list[int] = Field([], max_length=1)
    checked: str = ""

    @field_validator("checked")
    @classmethod
    def check(cls, _value: str) -> str:
        """Refuse every value."""
        raise ValueError("must begin with redis://")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("number", "abc", "must be a valid integer"),
        ("text", "loud", "must match pattern '^(debug|info)$'"),
        ("few", [1, 2], "must have at most 1 item after validation, not 2"),
        ("checked", "x", "must begin with redis://"),
    ],
)
def test_message_says_what_a_value_must_be(field: str, value: Any, message: str) -> None:
    """The name of the value stands before it, so the message begins with the rule."""
    with pytest.raises(ValidationError) as caught:
        Shape.model_validate({field: value})
    assert explain(caught.value.errors()[0]) == message
