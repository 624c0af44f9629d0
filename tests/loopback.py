"""The rig's clients, under the name that tests use."""

from __future__ import annotations

from rig.loopback import NO_CERTIFICATES

__all__ = [
    "NO_CERTIFICATES",
]
