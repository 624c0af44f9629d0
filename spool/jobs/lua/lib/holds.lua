-- Holds: jobs that are queued but that no claim may find yet. Their batch is being written, their not_before has not
-- come (`scheduled`), or an earlier job of their conversation has not ended (`turns:OWNER:CONVERSATION`). The holder of
-- a conversation's turn has score 0 there; the others wait in the order of their scores.
-- The time without another line after which a batch that is being written counts as abandoned.
local STAGING_MS = 60000

local function staging_of(batch)
  local state = batch ~= '' and redis.pcall('HGET', P .. 'batch:' .. batch, 'staging')
  return type(state) == 'string' and state or nil
end

local function turns_of(owner, conversation)
  return 'turns:' .. owner .. ':' .. redis.sha1hex(conversation)
end

-- Queues a job by its record, in its order: retries, interactive, batch.
local function enqueue_record(id, record)
  local rank = record.attempt ~= '0' and 0 or record.priority == 'batch' and 2 or 1
  local who = who_of(record)
  who.near = near_of(record)
  index('SADD', 'models', record.model)
  enqueue(id, who, rank * 1e15 + record.seq, staging_of(who.batch))
end

-- The record of a job that has not ended and can be queued; nil for any other.
local function waiting_record(id)
  local record = fields_if_any(job_key(id), 'status', 'owner', 'model', 'batch', 'priority', 'attempt', 'seq',
    'fairness_key', 'start_within_s', 'start_by_ms', 'created_ms', 'not_before_ms')
  local has_ended = record.status ~= 'queued' and record.status ~= 'running'
  return not has_ended and record.owner and record.model and tonumber(record.seq) and record or nil
end

-- The job that holds the turn of a conversation; nil without one. If no job holds it, the first one gets it and is
-- queued, unless it is `id`, which the caller queues. Jobs that no longer exist leave on the way.
local function holder_of(turns, id)
  while true do
    local first = index('ZRANGE', turns, 0, 0, 'WITHSCORES')
    if not first[1] then return nil end
    local record = waiting_record(first[1])
    if record then
      if tonumber(first[2]) > 0 then
        index('ZADD', turns, 0, first[1])
        if record.status == 'queued' and first[1] ~= id then enqueue_record(first[1], record) end
      end
      return first[1]
    end
    index('ZREM', turns, first[1])
  end
end

-- Queues a job, or holds it. `record` is that of a queued job.
local function admit(id, record)
  if record.attempt == '0' and bounded(record.not_before_ms, 0, 1e14, 0) > NOW then
    index('ZADD', 'scheduled', record.not_before_ms, id)
    return
  end
  if record.conversation then
    local turns = turns_of(record.owner, record.conversation)
    index('ZADD', turns, 'NX', record.seq, id)
    if holder_of(turns, id) ~= id then return end
  end
  enqueue_record(id, record)
end

-- The job whose messages and answer a later turn of the conversation continues from: the last one that has begun.
local function note_turn(id, record, ttl_ms)
  --[[LIBRARY]]
  redis.call('SET', P .. 'conversation:' .. record.owner .. ':' .. redis.sha1hex(record.conversation), id, 'PX', ttl_ms)
end

-- Ends the holds of a job that ends or is deleted: the next job of its conversation gets the turn.
local function release(id, record)
  --[[LIBRARY]]
  index('ZREM', 'scheduled', id)
  if record.conversation then
    local turns = turns_of(record.owner, record.conversation)
    index('ZREM', turns, id)
    holder_of(turns)
  end
end
