"""The rig's proxy, under the name that tests use."""

from __future__ import annotations

from rig.proxy import Proxy

__all__ = [
    "Proxy",
]
