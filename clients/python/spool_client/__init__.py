"""The Python client of Spool: submits prompts as jobs and follows their logs through lost connections.

``Client`` and ``AsyncClient`` share one core (``steps.py``), so they behave alike.
"""

from spool_client.async_client import AsyncClient, AsyncFollow
from spool_client.client import Client, Follow
from spool_client.documents import Batch, Entry, Job, JobError, Message
from spool_client.errors import SpoolError, Unreachable
from spool_client.timing import Timing

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncFollow",
    "Batch",
    "Client",
    "Entry",
    "Follow",
    "Job",
    "JobError",
    "Message",
    "SpoolError",
    "Timing",
    "Unreachable",
]
