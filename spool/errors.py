"""Everything that Spool itself raises.

    SpoolError
    ├── SettingsError            a setting is missing, malformed or unknown
    ├── UndecodableRecord        bytes in Redis that are no Job and no Entry of ours (keeps them)
    ├── JobNotFound              no such job, or somebody else's
    │   └── JobGone              it was here: expired or deleted
    ├── RecordDamaged            the stored record cannot be read; its job was set aside
    ├── RecordNewer              a newer version of Spool wrote it (carries retry_after_s)
    ├── BatchNotFound
    ├── BatchStaging             an earlier call with this Idempotency-Key is still writing its batch
    ├── JobNotEnded              deleting what still runs
    ├── IdempotencyConflict      the key was used with another body (carries the job's id)
    ├── UnknownModel
    ├── NoModel                  no upstream has said yet which models it serves, and there is no demo
    ├── LimitExceeded            too many of something (carries retry_after_s)
    │   ├── QueueFull
    │   ├── OwnerLimitExceeded   one owner's own limit
    │   │   ├── OwnerQueueFull
    │   │   └── OwnerBytesFull
    │   ├── TooManyStreams
    │   │   └── OwnerStreamsFull
    │   └── TooManyFolds
    ├── Draining                 this process is going away; another one serves
    └── StoreUnavailable         Redis is away or refuses (carries retry_after_s)
        ├── OutcomeUnknown       ... after a write was sent: it may have happened
        ├── StoreForbidden       Redis's user lacks a permission
        ├── StoreReadOnly        a replica, or a failover under way
        ├── StoreFull            out of memory or past the watermark
        └── StoreUnfit           a server that does not keep what it is given, or is too old

Errors carry what the caller still needs to go on, as attributes.
"""

from __future__ import annotations

_REASON_CHARACTERS = 200


class SpoolError(Exception):
    """The root of Spool's own errors."""


class SettingsError(SpoolError):
    """A setting cannot be used; the message names the variable and, unless secret, the value."""


class UndecodableRecord(SpoolError):
    """Stored bytes that cannot be decoded; ``raw`` keeps them for whoever looks into it."""

    def __init__(self, what: str, raw: object) -> None:
        super().__init__(f"cannot decode {what}")
        self.raw = raw

    @property
    def reason(self) -> str:
        """What could not be decoded, and why, in a line."""
        return f"{self}: {self.__cause__}"[:_REASON_CHARACTERS] if self.__cause__ else str(self)


class JobNotFound(SpoolError):
    """No such job for this owner."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id!r}")
        self.job_id = job_id


class JobGone(JobNotFound):
    """The job existed and has expired or was deleted; its tombstone is still kept."""


class RecordDamaged(SpoolError):
    """The stored record of ``what`` cannot be read, and not be ended either: it was set aside."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the stored record of {what} is damaged; it was set aside and is not run")
        self.what = what


class RecordNewer(SpoolError):
    """A newer version of Spool wrote this record, and this one leaves it alone."""

    retry_after_s = 5.0

    def __init__(self, job_id: str) -> None:
        super().__init__(f"a newer version of Spool wrote job {job_id!r}; ask a server of that version")
        self.job_id = job_id


class BatchNotFound(SpoolError):
    """No such batch for this owner."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"no batch {batch_id!r}")
        self.batch_id = batch_id


class BatchStaging(SpoolError):
    """An earlier call with this Idempotency-Key is still writing its batch; ask again in a moment."""

    retry_after_s = 1.0

    def __init__(self, batch_id: str) -> None:
        super().__init__("an earlier request with this Idempotency-Key is still being written; try again")
        self.batch_id = batch_id


class JobNotEnded(SpoolError):
    """Only a job that has ended can be deleted, or gone on from."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} has not ended; wait for its end, or cancel it first")
        self.job_id = job_id


class IdempotencyConflict(SpoolError):
    """The Idempotency-Key was used before with another body, for the job ``job_id``."""

    def __init__(self, job_id: str) -> None:
        super().__init__("this Idempotency-Key was used with another body")
        self.job_id = job_id


class UnknownModel(SpoolError):
    """The model table has no such name; ``known`` lists some that it has."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"no model {name!r}")
        self.name = name
        self.known = known


class NoModel(SpoolError):
    """There is no model yet: no upstream has been reached, and the demo is switched off."""

    retry_after_s = 5.0

    def __init__(self) -> None:
        super().__init__("no model is known yet: no worker has reached an upstream, and SPOOL_DEMO=0")


class LimitExceeded(SpoolError):
    """Too many of something; worth another try after ``retry_after_s`` seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(LimitExceeded):
    """As many jobs are queued as the operator allows."""


class OwnerLimitExceeded(LimitExceeded):
    """One owner has as much of something as one owner may have."""

    detail = ""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(self.detail, retry_after_s)


class OwnerQueueFull(OwnerLimitExceeded):
    """As many jobs of this owner are queued as one owner may have."""

    detail = "your queued jobs have reached the limit of one owner; wait until some have begun, or cancel some"


class OwnerBytesFull(OwnerLimitExceeded):
    """The jobs of this owner fill as much of Redis as one owner may."""

    detail = (
        "your jobs fill as much memory as those of one owner may; delete jobs that have ended, or submit with a "
        "shorter ttl_s"
    )


class TooManyStreams(LimitExceeded):
    """This web process carries as many streams as it may."""


class OwnerStreamsFull(TooManyStreams):
    """This web process carries as many streams of one owner as it may."""


class TooManyFolds(LimitExceeded):
    """This web process reads as many logs as a whole as it may."""


class Draining(SpoolError):
    """This process is shutting down; come back to another one after ``retry_after_s`` seconds."""

    retry_after_s = 1.0


class StoreUnavailable(SpoolError):
    """Redis cannot be reached or cannot answer now."""

    retry_after_s = 2.0


class OutcomeUnknown(StoreUnavailable):
    """A write was sent to Redis and no answer came: it may or may not have happened, to ``job_id`` if known."""

    job_id: str | None = None


class StoreForbidden(StoreUnavailable):
    """The Redis user may not run a command, or not on Spool's keys; an operator has to mend that."""

    retry_after_s = 10.0


class StoreReadOnly(StoreUnavailable):
    """The server that answered is a replica; the primary is elsewhere or being elected."""


class StoreFull(StoreUnavailable):
    """Redis is out of memory, or past the watermark above which Spool takes no new job."""

    retry_after_s = 10.0


class StoreUnfit(StoreUnavailable):
    """The server evicts jobs, or is too old; somebody has to set it up differently. The message says how."""

    retry_after_s = 30.0
