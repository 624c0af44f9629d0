"""Spool's own exceptions.

    SpoolError
    ├── SettingsError            a setting is missing, malformed or unknown
    ├── UndecodableRecord        bytes in Redis that are neither a Job nor an Entry (keeps them)
    │   ├── BatchDamaged         of a batch, its lines or blocks
    │   ├── ConversationDamaged
    │   ├── DeliveryDamaged
    │   ├── FileDamaged
    │   ├── KeyDamaged
    │   └── WebhookDamaged
    ├── JobNotFound              no such job, or another owner's
    │   └── JobGone              the job existed: expired or deleted
    ├── RecordDamaged            the stored record cannot be decoded; its job was set aside
    ├── RecordNewer              a newer version of Spool wrote it (carries retry_after_s)
    ├── BatchNotFound
    ├── BatchClosed              no lines can be added: it is sealed or cancelled, or has ended
    ├── BatchMoved               other lines were added to the batch meanwhile (carries their number)
    ├── BatchTooLarge            too many lines of one batch, or too many pieces
    ├── BatchStaging             an earlier call with this Idempotency-Key is still writing its batch
    ├── KeyNotFound              no API key has this id
    ├── TooManyKeys              there are as many API keys as there may be
    ├── WrongSwitch              a switch that cannot be (carries the field)
    ├── SwitchNotFound           the switch is not on
    ├── TooManySwitches          as many switches are on as may be
    ├── FileNotFound
    ├── ConversationNotFound
    ├── ConversationTooLarge     it has as many items or bytes as it may
    ├── ItemNotFound             a conversation, or a response's input, has no such item
    ├── UploadExpired            an upload made no progress for too long
    ├── ContentLost              a file's record exists, but not its content
    ├── ContentElsewhere         a file's content is in a store that the settings do not name
    ├── WebhookNotFound          no webhook of this owner has this id
    ├── TooManyWebhooks          the owner has as many webhooks as it may
    ├── DeliveryNotFound         no delivery of this owner has this id
    ├── JobNotEnded              deletion or continuation of a job that has not ended
    ├── IdempotencyConflict      the key was used with another body (carries the job's id)
    ├── UnknownModel
    ├── NoModel                  no upstream has listed its models yet, and the demo is disabled
    ├── LimitExceeded            a limit is reached (carries retry_after_s)
    │   ├── QueueFull
    │   ├── SubmitsStopped       an operator has stopped such submits
    │   ├── TransportOff         an operator has turned this transport off
    │   ├── QuotaExceeded        a budget of tokens is used up
    │   ├── OwnerLimitExceeded   one owner's own limit
    │   │   ├── OwnerQueueFull
    │   │   ├── OwnerBytesFull
    │   │   ├── OwnerFilesFull
    │   │   ├── OwnerConversationsFull
    │   │   ├── DeliveriesFull
    │   │   └── TooManyOpenBatches
    │   ├── FilesFull            all files together
    │   ├── TooManyStreams
    │   │   └── OwnerStreamsFull
    │   └── TooManyFolds
    ├── Draining                 this process is shutting down; use another instance
    └── StoreUnavailable         Redis is away or refuses (carries retry_after_s)
        ├── OutcomeUnknown       ... after a write was sent, which may have succeeded
        ├── StoreForbidden       Redis's user lacks a permission
        ├── StoreReadOnly        a replica, or a failover in progress
        ├── StoreFull            out of memory or above the watermark
        ├── StoreRefusesWrites   it cannot write its files, or has too few replicas
        ├── ContentsUnavailable  the directory or the bucket of files fails
        └── StoreUnfit           the server evicts jobs, or is too old

Errors carry the data that the caller needs to proceed, as attributes.
"""

from __future__ import annotations

_REASON_CHARACTERS = 200


class SpoolError(Exception):
    """The root of Spool's own errors."""


class SettingsError(SpoolError):
    """A setting cannot be used; the message names the variable and, unless secret, the value."""


class UndecodableRecord(SpoolError):
    """Stored bytes that cannot be decoded; ``raw`` keeps them for diagnosis. ``noun`` is what they are a record of, and
    ``remedy`` what its owner can do."""

    noun = "job"
    remedy = "submit the job again"

    def __init__(self, what: str, raw: object) -> None:
        super().__init__(f"cannot decode {what}")
        self.raw = raw

    @property
    def reason(self) -> str:
        """The failed decoding and its cause, in one line."""
        return f"{self}: {self.__cause__}"[:_REASON_CHARACTERS] if self.__cause__ else str(self)


class BatchDamaged(UndecodableRecord):
    """A record, line or block of a batch cannot be decoded."""

    noun = "batch"
    remedy = "submit the batch again"


class ConversationDamaged(UndecodableRecord):
    """The record of a conversation cannot be decoded."""

    noun = "conversation"
    remedy = "delete it, and begin another"


class DeliveryDamaged(UndecodableRecord):
    """The record of a delivery cannot be decoded."""

    noun = "delivery"
    remedy = "it cannot be sent again; read the job or batch itself"


class FileDamaged(UndecodableRecord):
    """The record of a file cannot be decoded."""

    noun = "file"
    remedy = "delete it, and upload it again"


class KeyDamaged(UndecodableRecord):
    """The record of an API key cannot be decoded."""

    noun = "key"
    remedy = "revoke it, and create another"


class WebhookDamaged(UndecodableRecord):
    """The record of a webhook, or an owner's secrets, cannot be decoded."""

    noun = "webhook"
    remedy = "delete it, and create another"


class JobNotFound(SpoolError):
    """No such job for this owner."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id!r}")
        self.job_id = job_id


class JobGone(JobNotFound):
    """The job existed and has expired or was deleted; its tombstone is still kept."""


class RecordDamaged(SpoolError):
    """The stored record of ``what`` can neither be decoded nor be ended; it was set aside."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the stored record of {what} is damaged; it was set aside and will not run")
        self.what = what


class RecordNewer(SpoolError):
    """A newer version of Spool wrote this record, so this version does not change it."""

    retry_after_s = 5.0

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} was written by a newer version of Spool; retry on a server of that version")
        self.job_id = job_id


class BatchNotFound(SpoolError):
    """No such batch for this owner."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"no batch {batch_id!r}")
        self.batch_id = batch_id


class BatchNotEnded(SpoolError):
    """The batch has not ended, so it can be neither deleted nor retried."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"batch {batch_id!r} has not ended; wait for its end, or cancel it first")
        self.batch_id = batch_id


class BatchStopped(SpoolError):
    """The batch has ended, or an older version wrote it, so it can be neither paused nor resumed."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"batch {batch_id!r} has ended, and can be neither paused nor resumed")
        self.batch_id = batch_id


class BatchClosed(SpoolError):
    """No lines can be added to the batch: it is sealed or cancelled, or has ended."""

    def __init__(self, batch_id: str, why: str) -> None:
        super().__init__(f"batch {batch_id!r} {why}")
        self.batch_id = batch_id


class BatchMoved(SpoolError):
    """Other lines were added to the batch meanwhile; it has ``total`` lines now."""

    retry_after_s = 1.0

    def __init__(self, batch_id: str, total: int) -> None:
        super().__init__(f"other requests add lines to batch {batch_id!r} at the same time; retry")
        self.batch_id = batch_id
        self.total = total


class BatchTooLarge(SpoolError):
    """The batch would have too many lines, or pieces."""


class TooManyModels(SpoolError):
    """The lines of a batch name more than ``most`` models."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the lines of a batch may name at most {most} models")


class BatchStaging(SpoolError):
    """An earlier request with this Idempotency-Key is still writing its batch; retry shortly."""

    retry_after_s = 1.0

    def __init__(self, batch_id: str) -> None:
        super().__init__("an earlier request with this Idempotency-Key is still in progress; retry")
        self.batch_id = batch_id


class JobNotEnded(SpoolError):
    """The job has not ended, so it can be neither deleted nor continued."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} has not ended; wait for its end, or cancel it first")
        self.job_id = job_id


class ConversationBusy(SpoolError):
    """The job ``job_id`` of the same conversation has not ended, and ``on_busy`` is ``reject``."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} of this conversation has not ended; wait for its end, or use another on_busy")
        self.job_id = job_id


class IdempotencyConflict(SpoolError):
    """The Idempotency-Key was used before with another body, for the job ``job_id``."""

    def __init__(self, job_id: str) -> None:
        super().__init__("this Idempotency-Key was already used with another body")
        self.job_id = job_id


class FileNotFound(SpoolError):
    """No such file of this owner."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"no file {file_id[:100]!r}")
        self.file_id = file_id


class ConversationNotFound(SpoolError):
    """No such conversation of this owner."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"no conversation {conversation_id[:100]!r}, or it has expired")


class ItemNotFound(SpoolError):
    """The conversation, or the input of the response, has no such item."""

    def __init__(self, item_id: str) -> None:
        super().__init__(f"no item {item_id[:100]!r}")


class ConversationTooLarge(SpoolError):
    """The conversation has as many items or bytes as it may."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"a conversation has at most {limit}; delete items, or begin another")


class UploadExpired(SpoolError):
    """The upload made no progress for so long that it was deleted."""

    def __init__(self) -> None:
        super().__init__("the upload made no progress for too long and was deleted; upload the file again")


class ContentLost(SpoolError):
    """The record of a file exists, but not its content."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"the content of file {file_id!r} is lost; delete it and upload the file again")


class ContentElsewhere(SpoolError):
    """The content of a file is in a store that ``SPOOL_FILES_URL`` does not name."""

    def __init__(self, file_id: str, place: str) -> None:
        super().__init__(f"the content of file {file_id!r} is in {place}:, but SPOOL_FILES_URL names another store")


class UnknownModel(SpoolError):
    """The model table has no such name; ``known`` lists some of its names."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"no model {name!r}")
        self.name = name
        self.known = known


class NoModel(SpoolError):
    """There is no model yet: no worker has reached an upstream, and the demo is disabled."""

    retry_after_s = 5.0

    def __init__(self) -> None:
        super().__init__("no model is available yet: no worker has reached an upstream, and SPOOL_DEMO=0")


class KeyNotFound(SpoolError):
    """There is no API key with this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"no key {key_id[:40]!r}")


class TooManyKeys(SpoolError):
    """There are as many API keys as there may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"there are {most} keys, the most that are possible; revoked keys expire after 30 days")


class WrongSwitch(SpoolError):
    """A value of a switch is wrong; ``field`` is its name."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


class SwitchNotFound(SpoolError):
    """The switch is not on."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the switch {name[:300]!r} is not on")


class TooManySwitches(SpoolError):
    """As many switches are on as may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} switches are on, the most that may be; take others back first")


class WebhookNotFound(SpoolError):
    """No webhook of this owner has this id."""

    def __init__(self, endpoint_id: str) -> None:
        super().__init__(f"no webhook {endpoint_id[:40]!r}")


class TooManyWebhooks(SpoolError):
    """The owner has as many webhooks as it may."""

    def __init__(self, most: int) -> None:
        super().__init__(f"you have {most} webhooks, the most that are possible; delete one first")


class DeliveryNotFound(SpoolError):
    """No delivery of this owner has this id."""

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"no delivery {delivery_id[:80]!r}; one that has ended is kept for up to a week")


class LimitExceeded(SpoolError):
    """A limit is reached; retry after ``retry_after_s`` seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ConversationFull(LimitExceeded):
    """As many jobs of one conversation wait as may."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("100 jobs of this conversation have not ended; wait until some have", retry_after_s)


class QueueFull(LimitExceeded):
    """The queue is full."""


class SubmitsStopped(LimitExceeded):
    """An operator has stopped submits of such jobs for now."""


class TransportOff(LimitExceeded):
    """An operator has turned this transport off; the message names those that remain."""


class QuotaExceeded(LimitExceeded):
    """A budget of tokens is used up until it is renewed."""


class OwnerLimitExceeded(LimitExceeded):
    """A limit per owner is reached."""

    detail = ""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(self.detail, retry_after_s)


class OwnerQueueFull(OwnerLimitExceeded):
    """The owner's limit of queued jobs is reached."""

    detail = "your limit of queued jobs is reached; wait until some have begun, or cancel some"


class OwnerBytesFull(OwnerLimitExceeded):
    """The owner's limit of memory in Redis is reached."""

    detail = "your limit of stored bytes is reached; delete jobs that have ended, or submit with a shorter ttl_s"


class OwnerFilesFull(OwnerLimitExceeded):
    """The owner's limit of stored files is reached."""

    detail = "your limit of stored files is reached; delete some"


class TooManyOpenBatches(OwnerLimitExceeded):
    """The owner's limit of open batches is reached."""

    detail = "your limit of 1000 open batches is reached; seal or cancel some"


class OwnerConversationsFull(OwnerLimitExceeded):
    """The owner's limit of conversations or of their bytes is reached."""

    detail = "your limit of conversations is reached; delete some"


class FilesFull(LimitExceeded):
    """The limit of all stored files is reached."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the stored files are at their limit of {limit} bytes (SPOOL_MAX_FILES_BYTES)", 60.0)


class DeliveriesFull(OwnerLimitExceeded):
    """The owner's limit of outstanding deliveries is reached."""

    detail = "your limit of outstanding webhook deliveries is reached; wait until some have ended"


class TooManyStreams(LimitExceeded):
    """The stream limit of this web process is reached."""


class OwnerStreamsFull(TooManyStreams):
    """The owner's stream limit in this web process is reached."""


class TooManyFolds(LimitExceeded):
    """The limit of concurrent whole-log reads in this web process is reached."""


class Draining(SpoolError):
    """This process is shutting down; retry on another instance after ``retry_after_s`` seconds."""

    retry_after_s = 1.0


class StoreUnavailable(SpoolError):
    """Redis cannot be reached or cannot answer now."""

    retry_after_s = 2.0


class OutcomeUnknown(StoreUnavailable):
    """A write was sent to Redis without an answer, so it may or may not have succeeded; for ``job_id`` if known."""

    job_id: str | None = None


class StoreForbidden(StoreUnavailable):
    """The Redis user may not run a command, or not on Spool's keys; an operator must grant it."""

    retry_after_s = 10.0


class StoreReadOnly(StoreUnavailable):
    """The server that answered is a replica; the primary is another server or is being elected."""


class StoreFull(StoreUnavailable):
    """Redis is out of memory, or above the watermark at which Spool stops accepting jobs."""

    retry_after_s = 10.0


class StoreRefusesWrites(StoreUnavailable):
    """Redis answers, but accepts no writes: it cannot write its files, or lacks replicas. An operator must act."""

    retry_after_s = 10.0


class ContentsUnavailable(StoreUnavailable):
    """The directory or the bucket of files fails. The message, which is for the operator, says how."""


class StoreUnfit(StoreUnavailable):
    """The server evicts jobs, or is too old; an operator must reconfigure or upgrade it. The message says how."""

    retry_after_s = 30.0
