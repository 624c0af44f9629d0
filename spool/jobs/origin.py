"""A job's origin: the request that submitted it, and the credential that it showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spool.owners.limits import NO_BUDGET, Budget

FIELDS = ("request_id", "traceparent", "credential")
"""The record's fields; one that is empty is not stored."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that a job came with, and its credential. Checked by the web: the values can stand in headers and log
    lines."""

    request_id: str = ""
    """The id of the request."""
    traceparent: str = ""
    """Its place in a trace (W3C Trace Context): the caller's, or with traces the span of the submit; empty: none."""

    credential: str = ""
    """The id of the credential; empty: none."""
    models: frozenset[str] | None = None
    """The models that the credential may name; None: all. It is not stored."""
    budget: Budget = NO_BUDGET
    """The budget of the credential. It is not stored."""

    def encode(self) -> dict[str, str]:
        """The record's fields."""
        return {name: value for name in FIELDS if (value := getattr(self, name))}

    @classmethod
    def decode(cls, record: Mapping[str, str]) -> Origin:
        """The origin that a record names; jobs of earlier versions have none."""
        request_id, traceparent, credential = (record.get(name, "") for name in FIELDS)
        return cls(request_id, traceparent, credential)


UNKNOWN = Origin()
