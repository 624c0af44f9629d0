"""The fields of an upload to ``/v1/files``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from spool.files.file import FILENAME_CHARACTERS, Description
from web.arguments import DIGITS
from web.intake.multipart import Form
from web.intake.shapes import checked
from web.problems import field_problem

_HOUR_S = 3600
_MONTH_S = 2_592_000


class FileForm(BaseModel):
    """The form of an upload. Other fields are ignored."""

    model_config = ConfigDict(extra="ignore", validate_by_name=True, defer_build=True)

    file: Annotated[str, Field(description="The file: a part with a filename", json_schema_extra={"format": "binary"})]
    purpose: Literal["batch", "user_data"] = Field(description="`batch`: lines of JSON; `user_data`: anything")
    anchor: Literal["created_at"] | None = Field(None, alias="expires_after[anchor]")
    seconds: Annotated[int, Field(ge=_HOUR_S, le=_MONTH_S), DIGITS] | None = Field(
        None, alias="expires_after[seconds]", description="The file expires so long after its creation"
    )


def check_first_fields(form: Form) -> None:
    """Check the fields that stand before the file, so that nothing is stored for a form that is wrong in them. Raises a
    422 ``Problem``."""
    checked(FileForm, {"purpose": "batch", **form.fields, "file": ""})


def description_of(form: Form, ttl_s: int) -> Description:
    """The description of the file in this form, which is read to its end. Raises a 422 ``Problem``."""
    filename = form.filename.replace("\\", "/").rpartition("/")[2]
    if not 1 <= len(filename) <= FILENAME_CHARACTERS or not filename.isprintable():
        raise field_problem("file", f"its filename must have 1 to {FILENAME_CHARACTERS} printable characters")
    asked = checked(FileForm, {**form.fields, "file": ""})
    if (asked.anchor is None) != (asked.seconds is None):
        missing = "anchor" if asked.anchor is None else "seconds"
        raise field_problem(f"expires_after[{missing}]", "is missing")
    return Description(filename, asked.purpose, asked.seconds or ttl_s)
