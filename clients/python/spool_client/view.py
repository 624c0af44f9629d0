"""What a reader knows of its job while it follows it."""

from __future__ import annotations

from typing import Any

from spool_client.documents import Job, JobError
from spool_client.errors import SpoolError
from spool_client.follower import Follower


class View:
    """The state after the last entry. ``id`` is the job's."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.id = follower.path.rpartition("/")[2]

    @property
    def text(self) -> str:
        """The text that counts so far."""
        return self._follower.log.text

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return self._follower.log.reasoning

    @property
    def status(self) -> str:
        """``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``."""
        return self._follower.log.status

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return self._follower.log.attempt

    @property
    def last_entry(self) -> int:
        """The cursor: the id of the last entry read. ``follow(job, after=last_entry)`` continues from there."""
        return self._follower.log.cursor

    @property
    def usage(self) -> dict[str, Any] | None:
        """The tokens that were counted."""
        return self._follower.log.usage

    @property
    def error(self) -> JobError | None:
        """Why the job failed."""
        return self._follower.log.error

    @property
    def is_ended(self) -> bool:
        """Whether the job has ended and its log was read."""
        return self._follower.log.is_ended

    @property
    def is_incomplete(self) -> bool:
        """Whether entries are missing: reasoning may have holes; text has none once the job has ended."""
        return self._follower.log.is_incomplete

    @property
    def job(self) -> Job | None:
        """The record, if it had to be asked for."""
        return self._follower.job

    @property
    def connection(self) -> str:
        """``idle``, ``connecting``, ``live``, ``waiting``, ``ended`` or ``refused``."""
        return self._follower.connection

    @property
    def transport(self) -> str:
        """``sse``, ``long``, ``short`` or ``answer``."""
        return self._follower.transport

    @property
    def connections(self) -> int:
        """How many connections have shown life."""
        return self._follower.connections

    @property
    def trouble(self) -> SpoolError | None:
        """Why the last connection ended, while the client reconnects."""
        return self._follower.trouble
