"""The rig's stack, under the name that tests use."""

from __future__ import annotations

from rig.process import ROOT, Process, free_port, wait_for
from rig.redis_server import Redis
from rig.stack import Stack, Web, closing_stack, running_stack

__all__ = [
    "ROOT",
    "Process",
    "Redis",
    "Stack",
    "Web",
    "closing_stack",
    "free_port",
    "running_stack",
    "wait_for",
]
