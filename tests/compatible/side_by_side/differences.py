"""The differences that are allowed between an answer through Spool and the vendor's own, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

BETTER, DIFFERS = "better", "differs"


@dataclass(frozen=True)
class Difference:
    """``clients`` and ``scenarios`` are patterns; ``fields`` are those of the outcome that may differ."""

    verdict: str
    clients: tuple[str, ...]
    scenarios: tuple[str, ...]
    fields: frozenset[str]
    reason: str

    def covers(self, client: str, scenario: str) -> bool:
        """Whether it is about this client in this scenario."""
        clients = any(fnmatch(client, pattern) for pattern in self.clients)
        return clients and any(fnmatch(scenario, pattern) for pattern in self.scenarios)


_OFFICIAL = ("openai-*", "anthropic-*")

DIFFERENCES = (
    Difference(
        *(BETTER, _OFFICIAL, ("quota", "quota-whole"), frozenset({"asked"})),
        "The SDK asks a vendor three times although the quota is used up, and Spool once: `x-should-retry: false`.",
    ),
    Difference(
        *(BETTER, ("*",), ("timeout",), frozenset({"asked"})),
        "Each of the client's tries is another call at a vendor. At Spool all are one job and one call.",
    ),
    Difference(
        *(BETTER, ("*",), ("cut",), frozenset({"error", "finish", "usage"})),
        "Directly the connection breaks, with an error of the HTTP library. Spool ends the stream with an error that "
        "says that the upstream broke off.",
    ),
    Difference(
        *(DIFFERS, ("*",), ("key", "key-whole"), frozenset({"error"})),
        "A vendor's 401 is about the client's key. The key that the upstream rejects behind Spool is Spool's own, so "
        "the client gets 403.",
    ),
    Difference(
        *(DIFFERS, ("anthropic-*",), ("later-key",), frozenset({"error"})),
        "The same in a stream, where the error's type says so: `permission_error`.",
    ),
)


def allowed(client: str, scenario: str) -> Difference | None:
    """The allowed difference of this client in this scenario; None if both must be the same."""
    return next((difference for difference in DIFFERENCES if difference.covers(client, scenario)), None)
