"""The Redis key map: each key, its type, its content and its lifetime.

Every key of a shard begins with the shard's prefix ``spool:{N}:``. The braces make the prefix a hash tag: all keys of a
shard are in one slot of a Redis Cluster, and one script call may access any of them. Scripts get the prefix as their
only key and build the other keys from it, as described here.

Keys of a job (``ID`` contains its shard: ``jN-…``). None of them expires before the job ends. With the terminal entry,
all get the same expiry, ``ttl_s`` from then.

    job:ID           hash    The record. Only scripts write it; web, worker and keeper read it. Fields:
                             schema, id, owner, model, priority, surface, status, seq (order of submit), created_ms,
                             started_ms, ended_ms, deadline_ms, start_by_ms, ttl_s, attempt (number of the current or
                             last one), attempt_first (id of its first entry), attempts (JSON list of {attempt, first,
                             at_ms}), mode (how the last one began: started, restarted, continued), losses (attempts
                             that count against the limit), deaths (attempts whose process died), again (the reason
                             for the next attempt), last (id of the last entry), server (run_id of the Redis on which
                             the log is known to be complete; "fed again": of a line that Redis may have lost before),
                             torn (1: Redis may have lost entries of it), fence and
                             leased_until_ms (while running; 0: its worker is known to
                             have died), worker, cancel_ms, on_disconnect, on_worker_loss
                             (followed by " packed" once the log is packed), continuable (1: the model can continue a
                             partial answer), plain (0: its output is more
                             than text), coalesce (JSON, see spool.jobs.coalescing; without it every piece of text is
                             an entry), metadata, usage, error (JSON), finish_reason, batch, batch_index, lane
                             and custom_id (of a line of a batch),
                             fairness_key and fairness_weight (the job's flow), start_within_s, not_before_ms,
                             conversation, on_busy and continue_at_most (see spool.jobs.scheduling; missing if not
                             submitted), request_id, traceparent and credential (see spool.jobs.origin; missing if
                             unknown), webhook (JSON {url, events, lane}, see
                             spool.webhooks; missing if the submit names none),
                             output_at_most (maximum size of its output in Redis, in bytes; 0: unknown), reserved
                             (tokens that its attempt took from its model's bucket, most and a_minute of that),
                             owner_reserved (the same of its owner's buckets),
                             refusals and refused_ms (how often its upstream refused it, and when last), idempotency
                             and chat (names of the keys below), before (digest of the last block of its conversation;
                             with it, schema is at least 2), packed (1: the log is packed; 0: it cannot be packed and
                             stays a stream), earlier_bytes (total length of its blocks, in bytes), max_tokens (limit
                             of its answer), charge (tokens with which its flow was charged; an end replaces them by
                             the tokens that it used), weight (with which it was charged, if its owner's weight
                             changed that), prefix_bytes (length of the text that a continued attempt began with),
                             usage_noted (the attempt whose usage was noted before its end) and event (id of its newest
                             event, while its owner's are read)
    job:ID:input     string  JSON {messages, params}, and depending on the surface instructions, request, endpoint
                             and before (as in the record). messages are those after its blocks. Written by submit;
                             read by the claim, by a turn that continues the conversation, and by /v1. Compressed
                             together with the log if that makes it smaller (spool.jobs.input_packing)
    job:ID:log       stream  The log. Entry ``N-0`` has one field, ``entry``: the bytes of spool.jobs.entries. The key
                             is also the channel on which new entries are published, as "FIRST\\nENTRY\\nENTRY…".
                             Some seconds after the job's end, a string in the same place: the packed log
                             (spool.jobs.packing). A worker writes it; schema of the record is then 4
    job:ID:text      string  The current attempt's text so far, so that a poll never rebuilds it from the log. Deleted
                             when the log is packed, which gives the same text
    job:ID:gone      string  The tombstone: the owner of an ended job. It expires a day after the other keys, so that an
                             expired or deleted job differs from one that never existed

Blocks that jobs of an owner share. Neither key expires (see spool.jobs.conversation_blocks and lib/blocks.lua):

    block:OWNER:DIGEST  hash  A block: before (digest of the previous block, or empty) and messages (JSON list).
                             Written by the first submit that needs it; deleted when no job and no other block uses it
    block-users:OWNER:DIGEST  zset  Jobs of which this is the last block; score: the time until which they need it, ms
                             (before the job ends, a day after the latest possible time). Also digests of the
                             blocks that follow it; score: infinity

The queue, leases and workers:

    seq              string  Counts submits
    models           set     Names of the models that jobs were submitted for
    pending:MODEL    zset    Queued jobs; score: rank (0 retry, 1 interactive, 2 batch) × 10^15 + seq
    retries:MODEL    zset    Queued jobs that ran before, with the same scores. A claim starts here
    heads:CLASS:MODEL zset   Flows with queued jobs of the class (interactive, batch) and model, except those of owners
                             at their limit of running jobs; score: the flow's virtual time at the model. FLOW is
                             CLASS:OWNER:KEY; KEY is the fairness key, encoded, or empty
    flow:FLOW:MODEL  zset    Queued jobs of a flow and model, and batches (score: the score of the batch's first job).
                             Score: as above; of a job whose start_within_s is near, its start_by_ms
    flow:ID:FLOW:MODEL zset  Queued jobs of a batch
    virtual:FLOW     hash    The flow's virtual time (tokens × 1000 / weight) at each model (@MODEL) and over all models
                             (@), and the parts of it that are charged and not settled (+MODEL, +). It expires an hour
                             after its last change
    clock            hash    Settled virtual times of the flows that were served last: CLASS:MODEL, and "CLASS:" over
                             all models; passed: interactive jobs claimed since the last batch job, while batch jobs
                             waited
    batch-running:MODEL set  Running batch jobs
    output-tokens    hash    Model → moving average of the tokens of its answers
    held             set     Owners that were at a limit of their own, or of a model, during a claim
    held:OWNER       set     "CLASS:MODEL" of the queues in which the owner has parked flows
    held:OWNER:CLASS:MODEL zset  Parked flows, by virtual time. The first returns when one of the owner's jobs ends
    rated            zset    Owners with flows that wait for a rate; score: when the first may return, ms
    held-keys        set     "OWNER:KEY" of fairness keys that were at their limit during a claim
    held-key:OWNER:KEY set   "CLASS:MODEL" of the queues in which the flow of this key (percent-encoded) is parked. It
                             returns when a job of the key ends
    apart            zset    Quarantine: queued jobs, of all models, whose process died twice. Each runs next in a
                             process of its own. Score: seq
    scheduled        zset    Queued jobs before their not_before, in ms, which is the score. The keeper queues them then
    turns:OWNER:DIGEST  zset  Jobs of a conversation (SHA-1 of its name) that have not ended and whose not_before has
                             come. Score: 0 for the one that is queued or runs, seq for the others, which wait for it
    conversation:OWNER:DIGEST  string  Id of the last job of that conversation that has begun and ended; expires with it
    running:MODEL    zset    Running jobs; score: when the lease expires, ms
    owner-running:OWNER:MODEL set  Running jobs of an owner and model
    key-running:OWNER:KEY set  Running jobs of an owner's fairness key
    deadlines        zset    All jobs that have not ended; score: when the keeper must look at it, ms
    watched          zset    Jobs that end with their last reader; score: until when a reader is known, ms. Web
                             processes with a reader renew it; the keeper cancels expired ones
    claim:FENCE      string  The job that a claim under this fence got, for a minute, so that a claim can be repeated
    closed-models    set     Models for which the next key may exist
    closed:MODEL     hash    Its upstream refuses it: until_ms (no job of it begins before), since_ms, reason, status
                             (of the upstream's answer; 0: none), kind (spool.jobs.closed_models), window (how many of
                             its jobs may be tried at a time), epoch (which closing it is), accepted_ms (when a tried
                             job was last accepted). Deleted once enough jobs were accepted; expires ten minutes after
                             until_ms
    probes:MODEL     zset    Jobs of it that are tried; score: when they no longer count as tried, ms
    bucket:rpm:MODEL  hash   What may still begin of its requests a minute: left, at_ms, most (when full) and a_minute
                             (what flows in). Deleted when full; expires by then
    bucket:tpm:MODEL  hash   The same of its tokens a minute; left may be negative
    owner-bucket:rpm:OWNER hash  The same of an owner's requests a minute
    owner-bucket:rpm:OWNER:MODEL hash  The same of an owner's requests a minute of a model
    owner-bucket:tpm:OWNER hash  The same of an owner's tokens a minute
    owner-bucket:tpm:OWNER:MODEL hash  The same of an owner's tokens a minute of a model
    workers          zset    Worker processes; score: until when they count as alive, ms
    slots            hash    Worker process → free slots
    capacity         hash    Worker process → total slots
    server           hash    run_id of the Redis at the last script call, and since_ms, when scripts first saw it;
                             webs_run and webs_since_ms, the same of the scripts that write batches' logs; jobs_lost_on,
                             the run on which a worker found a job missing
    unheard          set     Worker processes from before that restart that have not yet confirmed that Redis still has
                             all their claims. Their last claims may be lost
    keeper           hash    beat_ms, patient_until_ms and run_id of the server at the last beat; cursor, the position
                             of the ledger's sweep; adopted_ms, the last search for jobs that claims or the ledger
                             miss; cursor_of_indexes, the position of the search for jobs missing from indexes
    probe            string  The permission check tries its writes on it, without effect; expires after a day
    keeper:lock      string  Name of the process that keeps this shard, for a second; it only saves work

Jobs and keys that are damaged, or need another version:

    set-aside        hash    Job → JSON {reason, since_ms}: jobs whose records are too damaged to end. At most 10,000,
                             for 7 days
    newer            set     Names of the next keys that are not empty
    newer:SCHEMA:INDEX  zset  Queued jobs written by a version with this schema, with their scores in INDEX
                             (pending:MODEL or apart). An older process moved them here; newer ones claim them
    reindex          string  The keeper's position (a cursor of SCAN) in rebuilding indexes from the records, after a
                             key of another type replaced an index. That key is displaced:INDEX for 7 days
    notices          list    Lines for the log of the process that keeps the shard, at most 200
    told             list    Events of jobs (JSON) for its log: ends and losses that no worker logs; at most 10,000

    unpacked         zset    Ended jobs whose logs are not packed; score: when they ended, ms, or later while a worker
                             packs them
    unpacked-batches zset    The same of batches

Usage and limits of owners:

    ledger           hash    Job, batch or name of a block → its entry; and the sums of the entries: sum (of all),
                             sum:OWNER. A packed list (MessagePack): queued, running, bytes, expected, writing; an
                             entry goes on with owner, batch ('' for none) and model. queued and running are 0 or 1,
                             queued of a staged batch the number of its reserved jobs. bytes is the size in Redis,
                             expected the output that a job will write once it runs, writing the same while it runs. An
                             entry stays from submit until the job or block is deleted or expires
    booked, use, use:OWNER   The ledger of earlier versions. The keeper moves it to ``ledger``
    output-bytes     hash    Model → moving average of the size in Redis of a job's output
    run-ms           hash    Model → moving average of the time for which a job runs, in ms
    memory           hash    used, max (maxmemory; 0: none), claims_until (above it, no job starts) and bytes (of
                             all entries) at the keeper's last beat, and at_ms
    limits           hash    owner_running (0: by share), owner_share (0: one owner may have all) and watermark, from
                             the webs' settings; owners: the digest of what follows, '' without an owners file
    owner-limits     hash    Owner → its limits as JSON (spool.owners.limits); '': those of all others
    usage:OWNER:MONTH hash   What ended attempts have used. "DD CREDENTIAL MODEL" → tokens in and out, jobs, attempts,
                             attempts that did not succeed, and ms; "month" and "day DD" → tokens in and out together,
                             and the same of a credential: "month CREDENTIAL" and "day DD CREDENTIAL". MONTH is
                             YYYY-MM, in UTC. Expires 400 days after its first change
    usage-owners:MONTH  set  Owners with usage in the month; expires likewise

Lists of jobs, idempotency, repeated requests, chats and batches:

    owner:OWNER      zset    Jobs of an owner; score: created_ms × 1000 + seq mod 1000. The keeper removes expired ones
    kept             zset    "OWNER ID" of ended jobs and batches; score: when they expire, ms. Also "OWNER
                             block:OWNER:DIGEST" of blocks without a following block; score: when the last of their
                             users expires
    idempotency:OWNER:DIGEST  string  "ID BODY_DIGEST", of a job or a batch; expires with it
    repeat:OWNER:DIGEST  string  Id of the newest job or batch of a request that may be repeated (spool.jobs.repeats).
                             It expires a quarter of an hour after the job's deadline, or the batch's creation
    chat:OWNER:DIGEST  string  Id of the newest job of that chat; expires with it
    batch:ID         hash    owner, created_ms, total, ttl_s, idempotency, and a count per status. Of a batch with
                             lanes also: status of its log (running, succeeded, failed, cancelled; open: it
                             runs, and lines can be added), pieces (how often some were), piece_at (when some
                             were last, us), on_bad_line, is_sealed, state
                             (spool.batches), last (id of the log's last entry), ended (lines with an entry), lanes
                             (their number), size:LANE, model:LANE, fed:LANE (lines that are jobs, or have ended
                             without), stop (cancelled or expired: nothing of it begins), paused, expires_ms,
                             window_s, finalizing_ms, cancelling_ms, ended_ms, input_tokens, output_tokens, errors
                             (JSON list), metadata, surface, endpoint, input_file, keep_jobs, order, webhook, packed
                             and event (as of a job), run_id (of
                             the server on which its log was last written), output_bytes and errors_bytes (of its
                             files, once they were counted), torn (id of an entry that a reader has seen and Redis has
                             lost), fed_again:LANE (lines before this one may have been jobs before a restart of
                             Redis). Of an older one: staging (open, or dropped) until all of its jobs are written
    batch:ID:lines   hash    Its lines in compressed blocks (spool.batches.blocks), and a copy of fed:LANE. Staged
                             before the batch exists, for ten minutes
    batch:ID:pieces  hash    Of an open batch, digest of a piece's key → index of its first line, number of its lines,
                             digest of its body (spool.batches.pieces)
    batch:ID:log     stream  Its log: an entry for each line that has ended, and a terminal one. Key and channel are
                             like those of a job's log. Some seconds after the batch's end, a string: the packed log
    batch:ID:packed:ATTEMPT  string  A packed log that a worker is making (spool.jobs.batch_packer); for a minute after
                             its last piece
    batch:ID:flight:N zset   Jobs of lane N that have not ended; score: batch_index
    feeding          zset    Batches whose lines wait or run; score: when the feeder last looked at them, ms
    feeding-open     zset    The same of open batches, which feeders of older versions must not find
    open-batches:OWNER set   Open batches of an owner
    batch:ID:late    list    "LANE ID" of its jobs that have ended while its log must not be written, just after a
                             restart of Redis. The feeder then ends their lines, in this order
    batch-webs       zset    Webs, which alone show batches' logs; score: until when they count as such, ms
    unconfirmed-webs set     Webs from before the last restart of Redis that have not reported yet what they have read
                             of batches
    feeder:lock      string  Name of the process that feeds this shard, for two seconds; it only saves work
    open-feeder:lock string  The same of open batches, since processes of older versions hold the other one and leave
                             these alone
    batches:OWNER    zset    Complete batches of an owner; score: when they were complete, in microseconds. The keeper
                             removes expired ones
    staging          zset    Batches that reserve room for jobs that are not written; score: when they count as
                             abandoned, ms. The ledger has an entry for each
    batch:ID:flows   set     "FLOW MODEL" of the jobs of an older batch, until all of them are written
    batch:ID:jobs    list    Its jobs, in the order of submit
    batch:ID:ended   list    Its jobs, in the order in which they ended. All keys expire ttl_s after the last
                             job's end, and before that only long after the last deadline

Events, for those that read what happens to all jobs of an owner (lib/events.lua, spool.jobs.event_logs):

    events:OWNER     hash    It exists while the owner's events are read, and for an hour after: only then are they
                             written. status (always running) and last (id of the last event), as of a log; run_id, of
                             the server on which the last one was written; until_ms, when it expires
    events:OWNER:log stream  The last events, ten thousand at most, in the form of a job's log, without their records.
                             It expires with the hash, as does
    events:OWNER:records hash  Event → the id of the earlier event of its job or batch (0: none), a space, and the
                             record after the change (JSON). Those of a deleted job or batch are deleted with it
    event-logs       zset    Owners whose events are written; score: until when, ms

Webhooks: the outbox of deliveries, and what their receivers have answered. LANE is an endpoint, or OWNER/DIGEST for the
webhooks that an owner's submits name at one host and port (see spool.webhooks and lib/outbox.lua):

    endpoints:OWNER  hash    Endpoint → types of the events that it wants, divided by spaces (empty: all); without
                             disabled ones
    delivery:DELIVERY hash   A delivery: id, owner, endpoint (empty: the submit named the URL), url (empty: the
                             endpoint's), lane, type, subject (job or batch), surface, model, status, batch, metadata,
                             state (pending, delivered, failed), at_us (when the end posted it), tried_from_ms,
                             attempts, failures (that moved it behind others), last_status, last_error, ended_ms,
                             is_gone (1: the subject is deleted, so metadata is, too, at the end). It
                             expires a week after its end
    deliveries:OWNER zset    Deliveries of an owner; score: at_us. Expires eleven days after the last change, as does
    settled-deliveries:OWNER zset  those of them that are not tried again; score: ended_ms
    outstanding-deliveries zset  Those of all owners that are tried; score: when they were posted, or replayed, ms
    settled-of-all   zset    "OWNER DELIVERY" of those of all owners that are not tried again; score: ended_ms
    dropped-events   hash    Owner → events that were not written, because too many deliveries were outstanding
    lanes            zset    "OWNER LANE" of lanes with outstanding deliveries; score: when the next may be tried, ms
    lane:LANE        zset    Outstanding deliveries of a lane; score: at_us, or when it may be tried again, in µs: after
                             its lease, or after failures of its own
    lane-state:LANE  hash    While it fails: failures, since_ms, paused_until_ms. Expires four days after the last one
    sending:LANE     zset    Deliveries of a lane that are being sent; score: when the lease ends, ms
    sending-of:OWNER zset    The same of an owner

Only in shard 0:

    shards           string  The number of shards. The first process writes it; a process that uses another number takes
                             no jobs
    key:CREDENTIAL   hash    An API key (spool.access.keys): id, owner, digest (SHA-256 of its secret, in hex), name,
                             scopes, models (JSON list; empty: all), limits and metadata (JSON), created_ms, expires_ms
                             (0: never), revoked_ms, used_ms (last use). It expires 30 days after its end
    door:NAME        hash    Requests of a credential (c:ID) or an address (a:ADDRESS), by second. Expires 62 s after
                             the last of them
    failed-logins    hash    Address → its wrong credentials in this minute, of at most 10,000 addresses. Expires with
                             the minute
    keys             zset    Ids of the API keys; score: created_ms
    keys-version     string  Counts changes of API keys, so that processes notice them
    switches         hash    "KIND TARGET" → JSON {reason, value, since_ms, by}: the switches that are on
                             (spool.switches.switch); changes: the number of changes, by which a process notices that
                             Redis lost some of them
    endpoint:ENDPOINT hash   A webhook endpoint: id, owner, url, events, secrets (JSON list), created_ms,
                             disabled_ms (0: enabled) and disabled_reason
    owner-endpoints:OWNER zset  Endpoints of an owner; score: created_ms
    webhook-secrets:OWNER string  JSON list of the secrets that sign deliveries to webhooks which submits name
    instances        hash    Process → JSON (spool.status.instances.Instance). Each writes its own every 3 s
    instances-until  zset    Processes; score: until when they count as running, ms
    signing-keys     string  JSON list of the keys that sign links, tokens and sessions, newest first, unless
                             SPOOL_SECRET is set
    file:FILE        hash    A file (spool.files.file): id, owner, place (the store of its content: redis, file or s3),
                             status (uploading, ready or deleting), blocks (their number), stored (the bytes that they
                             take), and once it is ready bytes, filename, purpose, created_ms and expires_ms
    file:FILE:N      string  Its block N, counted from 0, if its place is redis (spool.files.redis_contents)
    files:OWNER      zset    Complete files of an owner, by id, and so by age; score: 0
    file-bytes       hash    "all" and "owner:OWNER" → the bytes that files take, uploads included
    file-ends        zset    All files and uploads; score: when the sweep deletes them, ms: a file once it has expired,
                             an upload that has been silent for too long
    kept-conversation:CONV hash  A conversation of /v1 (spool.conversations): id, owner, metadata (JSON), created_ms,
                             expires_ms, version (counts changes of its items), last_item (place of the last one), job
                             (the response that is to add a turn) and last_job. The next two expire with it
    kept-conversation:CONV:items hash  Item → its JSON
    kept-conversation:CONV:order zset  Its items; score: their place
    conversations:OWNER zset  Conversations of an owner; score: when they expire, ms. It expires with the last, as does
    conversation-bytes:OWNER hash  "all" and conversation → the bytes of their items
    sealing-key      string  Signs texts that clients return, such as reasoning. The first web that needs it writes it
    model-table      hash    Upstream → JSON list (spool.models.model.Model), in its own order: the models that workers
                             discovered there
    proven-models    hash    Model → "STYLE UPSTREAM UPSTREAM_MODEL": workers have verified that it continues a partial
                             answer in this style. Valid for a process with the same values in its settings
"""

from __future__ import annotations

from spool.ids import shard_of

HOME = 0
"""The shard of what exists once in an installation."""

EVENTS = "events:"
"""Before an owner: the name of the log of its events, in the place of a job's id. No id has a colon."""


STORED_NAMES = {
    "history_lost": "torn",
    "retry_reason": "again",
    "text_only": "plain",
    "unconfirmed_workers": "unheard",
    "expiring": "kept",
    "reader_leases": "watched",
    "quarantine": "apart",
}
"""Fields and keys whose name in the scripts differs from the name in Redis. The linker of the scripts replaces them, so
that records and indexes stay the same for processes of an older version (docs/design.md)."""


def prefix(shard: int) -> str:
    """The prefix of every key of the shard."""
    return f"spool:{{{shard}}}:"


def job(job_id: str) -> str:
    """The key of the record of a job, of a batch, or of an owner's events (``spool.jobs.event_logs``). The suffixes
    ``:input``, ``:log``, ``:text`` and ``:gone`` give the job's other keys; the others have ``:log``. Raises
    ``ValueError`` for an invalid id."""
    if job_id.startswith(EVENTS):
        return f"{prefix(HOME)}events:{job_id.removeprefix(EVENTS)}"
    return f"{prefix(shard_of(job_id))}{'batch' if job_id[0] == 'b' else 'job'}:{job_id}"


def log(job_id: str) -> str:
    """The key of the log of a job, a batch or an owner's events, which is also its channel. Raises ``ValueError`` for
    an invalid id."""
    return f"{job(job_id)}:log"
