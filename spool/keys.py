"""The Redis key map.

Every key of a shard begins with the shard's prefix ``spool:{N}:``; the braces make it the hash tag, so that all
of a shard lies in one slot of a Redis Cluster and one script call may touch any of it. Scripts get the prefix as
their only key and build the rest, as written here.

A job (``ID`` names its shard: ``jN-…``). None of these expires while the job has not ended; with its terminal
entry all get one expiry, ``ttl_s`` from then.

    job:ID           hash    The record. Written by the scripts alone; read by web, worker and keeper. Fields:
                             schema, id, owner, model, priority, surface, status, seq (order of submit), created_ms,
                             started_ms, ended_ms, deadline_ms, start_by_ms, ttl_s, attempt (number of the current or
                             last one), attempt_first (id of its first entry), attempts (JSON list of {attempt, first,
                             at_ms}), mode (how the last one began: started, restarted, continued), losses (attempts
                             that count against the limit), deaths (those that ended with their process), again (why
                             it waits for another attempt), last (id of the last entry), server (run_id of the Redis
                             that the log is known to be whole on), torn (1: Redis may have lost entries of it),
                             fence and leased_until_ms (while running), worker, cancel_ms, on_disconnect,
                             on_worker_loss, continuable (1: the model can go on from a partial answer), plain (0: it
                             has produced more than text), coalesce (JSON, see spool.jobs.coalescing; without it every
                             piece of text is an entry), metadata, usage, error (JSON), finish_reason, batch,
                             batch_index,
                             output_at_most (bytes that its output takes here at most; 0: not known), idempotency and
                             chat (names of the keys below), before (digest of the last block of its conversation;
                             with it, schema is 2) and earlier_bytes (how long its blocks are in all)
    job:ID:input     string  JSON {messages, params}, and where the surface has them instructions, request and before
                             (as in the record): the messages behind its blocks. Written by submit, read with the
                             claim, by a turn that goes on from it and by /v1
    job:ID:log       stream  The log. Entry ``N-0`` has one field, ``entry``: the bytes of spool.jobs.entries. Also the
                             name of the channel on which new entries are published, as "FIRST\\nENTRY\\nENTRY…"
    job:ID:text      string  The current attempt's text so far, so that a poll never rebuilds it from the log
    job:ID:gone      string  The tombstone: the owner of a job that ended. Outlives the rest by a day, so that what
                             expired or was deleted can be told from what never was

What jobs of an owner share, neither of which expires (see spool.jobs.conversation_blocks and blocks.lua):

    block:OWNER:DIGEST  hash  A block: before (digest of the one before it, or empty) and messages (JSON list).
                             Written by the first submit that needs it; deleted when no job and no other block uses it
    block-users:OWNER:DIGEST  zset  Jobs whose conversation goes on from this block; score: until when, ms (of one that
                             has not ended, a day beyond the latest that it can be). And digests of the blocks that
                             follow it; score: infinity

What orders the work:

    seq              string  Counts submits
    models           set     Names of the models that jobs were submitted for
    pending:MODEL    zset    Queued jobs; score: rank (0 retry, 1 interactive, 2 batch) × 10^15 + seq
    heads:MODEL      zset    Owners with queued jobs of the model, but for those at their limit of running jobs; score:
                             that of the owner's first job. Where a claim begins
    flow:OWNER:MODEL zset    Queued jobs of an owner and model, and batches (score: that of the batch's first job)
    flow:ID:MODEL    zset    Queued jobs of a batch
    parked           set     Owners that a claim has met at their limit of running jobs
    parked:OWNER     set     The models whose heads an owner has left for it; it comes back when one of its jobs ends
    apart            zset    Queued jobs, of all models, that lost their process twice: each goes on in a process of its
                             own. Score: seq
    running:MODEL    zset    Running jobs; score: when the lease runs out, ms
    deadlines        zset    All jobs that have not ended; score: the next moment at which the keeper must end it, ms
    watched          zset    Jobs that end with their last reader; score: until when one is known to read, ms. Web
                             processes with a reader renew it, the keeper cancels what ran out
    claim:FENCE      string  Which job a claim under this fence got, for a minute: asking again is harmless
    workers          zset    Worker processes; score: until when they count as alive, ms
    slots            hash    Worker process → free slots
    capacity         hash    Worker process → its slots in all
    server           hash    run_id of the Redis that the scripts met last, and since_ms, when they first did
    unheard          set     Worker processes that were there before that, and have not said yet that nothing which they
                             had claimed is missing now: what they claimed last may be lost
    keeper           hash    beat_ms, patient_until_ms and run_id of the server at the last beat; how far the sweep of
                             the ledger has come (cursor), and when jobs of an older version were last looked for
                             (adopted_ms); cursor_of_indexes: how far the look for jobs that indexes lack has come
    probe            string  What the check of permissions tries its writes on, in vain; expires after a day
    keeper:lock      string  Name of the process that keeps this shard, for a second; it only spares work

What waits aside, because it is damaged or not for this version:

    set-aside        hash    Job → JSON {reason, since_ms}: jobs whose records are so damaged that they cannot end. At
                             most 10,000, for 7 days
    newer            set     Names of the next keys that hold something
    newer:SCHEMA:INDEX  zset  Queued jobs that a version with this schema wrote, as they stood in INDEX (pending:MODEL
                             or apart). An older process that met them has moved them; newer ones claim them from here
    reindex          string  Where the keeper is (a cursor of SCAN) in filling indexes again from the records, after a
                             key of another type stood in the place of one. That key is displaced:INDEX for 7 days
    notices          list    Lines for the log of the process that keeps the shard, at most 200

What owners use, and may use:

    booked           hash    The ledger: job, or name of a block → "QUEUED RUNNING BYTES EXPECTED WRITING OWNER BATCH
                             MODEL" (- for none). QUEUED and RUNNING are 0 or 1; BYTES is what it takes in Redis,
                             EXPECTED what it will write once it runs, WRITING the same while it runs. From submit
                             until the job or block is deleted or has expired
    use              hash    The sums of all entries: queued, running, bytes, expected, writing
    use:OWNER        hash    The sums of an owner's
    output-bytes     hash    Model → moving average of what the output of one of its jobs takes in Redis
    memory           hash    used, max (maxmemory; 0: none), claims_until (no job begins above it) and bytes (of
                             ``use``) at the keeper's last beat, and at_ms
    limits           hash    owner_running (0: by share), owner_share (0: one owner may have all) and watermark, as the
                             webs' settings have them

What finds jobs again:

    owner:OWNER      zset    Jobs of an owner; score: created_ms × 1000 + seq mod 1000. The keeper removes expired ones
    kept             zset    "OWNER ID" of ended jobs; score: when they expire, ms. And "OWNER block:OWNER:DIGEST" of
                             blocks that no other follows; score: when the last of their users expires
    idempotency:OWNER:DIGEST  string  "ID BODY_DIGEST", of a job or a batch; expires with it
    chat:OWNER:DIGEST  string  Id of the newest job of that chat; expires with it
    batch:ID         hash    owner, created_ms, total, ttl_s, idempotency, and a count per status; staging (open, or
                             dropped) until all of its jobs are there
    staging          zset    Batches whose jobs are being written; score: when they count as given up, ms. The ledger
                             has an entry of each, which reserves the room for the jobs that are not there yet
    batch:ID:jobs    list    Its jobs, in the order of submit
    batch:ID:ended   list    Its jobs, in the order in which they ended. All three expire ttl_s after the last one,
                             and before that only long after the last deadline

And once, in shard 0:

    model-table      hash    Upstream → JSON list (spool.models.model.Model), in its own order: what workers
                             discovered there
    proven-models    hash    Model → "STYLE UPSTREAM UPSTREAM_MODEL": that it goes on from a partial answer, asked in
                             this way, as workers have seen. Of use to whoever has it in the settings like that
"""

from __future__ import annotations


def prefix(shard: int) -> str:
    """What every key of the shard begins with."""
    return f"spool:{{{shard}}}:"


def job(shard: int, job_id: str) -> str:
    """The record's key; ``:input``, ``:log``, ``:text`` and ``:gone`` follow it."""
    return f"{prefix(shard)}job:{job_id}"


def log(shard: int, job_id: str) -> str:
    """The log's key, and the name of its channel."""
    return f"{prefix(shard)}job:{job_id}:log"
