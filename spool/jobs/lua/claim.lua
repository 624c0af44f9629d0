#!lua flags=allow-oom
-- Claims the next job for a worker: retries first, then interactive before batch, then of the flow that was given the
-- fewest tokens for its weight, within each model's limit of running jobs. The worker chooses the fence, so that it can safely repeat a claim after a lost
-- answer.
-- Arguments:
--   what    any; retries (only retries, for a worker without a free slot); apart (only quarantined jobs, which need a
--   process of their own);
--   takes_batch  0: the worker keeps its free slots for interactive jobs
--   reserve      the part of each model's limit that batch jobs leave free
--   batch_every  batch jobs that wait get at least one claim in this many; 0: none
--   models  each model that the worker serves, and its limits (0: none) of running jobs, and of requests and tokens a
--   minute
-- Answers:
--   {id, text to continue from, input, NOW, the attempt's first entry, record…, the closing of its model during which
--   it is tried ('' for none), 1 if others may wait, or may when it ends}; with blocks, input is a list: the job's own
--   input, then the messages of its blocks, last block first
--   nothing  there is no job to claim
--   1        this call has removed as many jobs as one call may; call again
--[[SELDOM end_after end_damaged end_if_overdue end_if_stopped first_refused first_retry judge park read_blocks rate_block reserve_rates
  reserve_owner_rates unpark_key unpark_next unpark_flows unpark_rated note_probe batch_turn block_of_closed
  take_over_queue batch_flow_of is_before is_held_by_limits key_running_of sum_of_all unbook read_limits owner_rated_until id_after_jump refresh_batch is_below_reserve
  is_refusal reset_ledger fields_if_any enqueue wait_in_flow close]]
--[[ARGUMENTS fence lease_ms:number worker what takes_batch:flag reserve:number batch_every:number models...]]
local SETTLE_MS = 1000
local CLEARED_AT_MOST = 25
local has_newer, has_rare

-- Whether there may be a job to claim. Many calls find none, and this check makes them cheap.
local function may_find()
  local places = {P .. 'newer', P .. 'quarantine', P .. 'rated'}
  for i = models_at, what == 'quarantine' and 0 or #ARGV, 4 do
    for _, level in ipairs({'retries:', 'heads:interactive:', 'heads:batch:', 'heads:'}) do
      places[#places + 1] = P .. level .. ARGV[i]
    end
  end
  return redis.call('EXISTS', unpack(places)) > 0
end

local before = index('GET', 'claim:' .. fence)
if not before then
  -- Before any other check, and also without a job: the first call after a restart records which workers are
  -- unconfirmed.
  meet_server()
  if not may_find() then
    return false
  end
end
--[[LIBRARY]]

-- The answer for a claimed job. `opening` is the attempt's first entry, `mode` its kind, `record` the whole record: reading
-- it again, field by field, would take a tenth of a claim. A map is answered as names and values in turn.
local function answer(id, mode, opening, record, input, others_wait)
  local text = mode == 'continued' and redis.call('GET', job_key(id) .. ':text')
  if record.before then
    local blocks = read_blocks(record.owner, record.before)
    table.insert(blocks, 1, input or '')
    input = blocks
  end
  return {id, text or '', input or '', NOW, opening, {map = record}, probe_of(id, record.model), others_wait and 1 or 0}
end

-- Repeats an answer that was lost.
local function answer_again(id)
  --[[LIBRARY]]
  local key = job_key(id)
  local record = hash_at(key)
  local opening = redis.call('XRANGE', key .. ':log', record.last .. '-0', record.last .. '-0')
  return answer(id, record.mode, opening[1] and opening[1][2][2] or '', record, redis.call('GET', key .. ':input'), true)
end

-- The names of all parts of an index that this version can read: the index itself, and the jobs left by older versions.
local function parts_of(name)
  local parts = {name}
  for schema = 2, has_newer and SCHEMA or 0 do
    parts[schema] = 'newer:' .. schema .. ':' .. name
  end
  return parts
end

-- Requeues jobs that older versions have left for this one, a bounded number with each claim.
local function take_back(model)
  --[[LIBRARY]]
  local base = 'pending:' .. model
  for schema = 2, SCHEMA do
    local name = 'newer:' .. schema .. ':' .. base
    for _, id in ipairs(index('ZRANGE', name, 0, CLEARED_AT_MOST - 1)) do
      local record = fields_if_any(job_key(id), 'owner', 'batch', 'priority', 'fairness_key')
      local score = redis.call('ZSCORE', P .. name, id)
      index('ZREM', name, id)
      if record.owner then
        record.model = model
        index('SADD', 'models', model)
        enqueue(id, who_of(record), tonumber(score))
      end
    end
  end
end

-- The first queued job of these models, its index, and its owner, batch, model and flow; nil if there is none.
local function first_pending(models)
  local id, name, who, has_batch, is_due
  if has_rare then
    id, name, who = first_retry(models, NOW)
    if id or search.is_cut then return id, name, who end
    if what == 'retries' then return first_refused(models) end
    has_batch, is_due = batch_turn(models, batch_every)
  elseif what == 'retries' then
    return nil
  end
  local best
  for _, class in ipairs(is_due and {'batch', 'interactive'} or {'interactive', 'batch'}) do
    best = best or next_of_class(class, models)
  end
  if not best then return first_refused(models) end
  best.batch, best.passes_batch = '', has_batch and best.class == 'interactive'
  id = best.first
  if string.sub(id, 1, 1) == 'b' then
    best.batch = id
    id = index('ZRANGE', batch_flow_of(best), 0, 0)[1] or ''
  end
  return id, 'pending:' .. best.model, best
end

-- The first quarantined job. Checks up to a hundred jobs, so that models without room do not delay others for long.
local function first_quarantined(models)
  --[[LIBRARY]]
  for _, name in ipairs(parts_of('quarantine')) do
    for _, id in ipairs(index('ZRANGE', name, 0, 99)) do
      local model = redis.pcall('HGET', job_key(id), 'model')
      local is_odd = not model or type(model) == 'table'
      if is_odd or models[model] and not is_held_by_limits(id, model) then
        return id, name
      end
    end
  end
end

-- Moves a job of a newer version to a separate index, where it does not delay this version's jobs.
local function leave_to_newer(id, name, schema)
  --[[LIBRARY]]
  local base = string.match(name, '^newer:%d+:(.+)$') or name
  local left = 'newer:' .. schema .. ':' .. base
  index('ZADD', left, redis.call('ZSCORE', P .. name, id) or 0, id)
  index('ZREM', name, id)
  index('SADD', 'newer', left)
end

-- After a claim: counts interactive ones that passed waiting batch jobs, and unparks the owner's next flow if its limits
-- allow another job.
local function count_turn(who)
  if who and who.passes_batch then
    tick('passed')
  elseif who and who.class == 'batch' then
    index('HSET', 'clock', 'passed', 0)
  end
  if not who or not who.owner or not has_owner_limits() or index('SISMEMBER', 'held', who.owner) == 0 then return end
  local scope, until_ms = flow_block(who.owner, '')
  if not scope then
    unpark(who.owner)
  elseif scope == 'rate' then
    index('ZADD', 'rated', 'LT', until_ms, who.owner)
  end
end

-- Whether other jobs may wait that no bell rings for: in the queue, or at a limit until another one ends.
local function has_more()
  if has_rare then return true end
  local places = {P .. 'held', P .. 'held-keys'}
  for i = models_at, #ARGV, 4 do places[#places + 1] = P .. heads_of('interactive', ARGV[i]) end
  return redis.call('EXISTS', unpack(places)) > 0
end

-- Begins the attempt and answers it. The kind of its first entry depends on the previous attempt's output.
local function begin(id, record, who)
  local key = job_key(id)
  local attempt, first = tonumber(record.attempt) + 1, tonumber(record.last) + 1
  local mode, rest = 'started', ',"attempt":' .. attempt .. ',"model":' .. json(record.model)
  local is_lost = has_lost_history(record)
  if is_lost then
    mode, first = 'restarted', id_after_jump(id, first - 1)
    rest = ',"attempt":' .. attempt .. ',"reason":"redis_lost_history"'
  elseif attempt > 1 then
    local plain = record.continuable == '1' and record.text_only ~= '0'
    mode = plain and redis.call('STRLEN', key .. ':text') > 0 and 'continued' or 'restarted'
    rest = ',"attempt":' .. attempt .. ',"reason":' .. json(record.retry_reason or 'worker_lost')
  end
  local input = redis.call('GET', key .. ':input')
  if who and who.here then serve(who.flow, who.model, who.here) end
  begin_attempt(id, record, {
    attempt = attempt, mode = mode, first = first, fence = fence, worker = worker, lease_ms = lease_ms,
    input_bytes = #(input or ''),
  })
  if may_be_closed(record.model) then note_probe(id, record.model) end
  if next(rates) then reserve_rates(id, record.model) end
  if read_owner_settings().has_file then reserve_owner_rates(id, record.owner, record.model) end
  count_turn(who)
  local opening = encoded(first, mode, rest)
  write_entry(id, first, opening)
  return answer(id, mode, opening, record, input, record.conversation or has_more())
end

-- Quick check of a queued job's record; nil if it needs the full `judge`. A fault missed here raises later, and is
-- judged then.
local function glance(id)
  local record = hash_at(job_key(id))
  if not record or record.status ~= 'queued' or record.attempt ~= '0' or not (record.owner and record.model)
    or not bounded(record.schema, 1, SCHEMA) then
    return nil
  end
  local are_numbers = tonumber(record.last) and tonumber(record.deadline_ms) and tonumber(record.created_ms)
    and tonumber(record.ttl_s) and tonumber(record.seq) and tonumber(record.losses)
  return are_numbers and record or nil
end

-- Whether memory suffices for the output of all running jobs and of this one, below Redis's maxmemory. A job that has
-- run before always fits, because most of its output is already written.
local function fits_memory(record)
  if record.attempt ~= '0' then return true end
  local memory = memory_now()
  local output = memory and output_to_write(record.model, bounded(record.output_at_most, 0, 1e12, 0))
  return not memory or memory.used + memory.writing + output <= memory.claims_until
end

-- Removes a job that cannot start from the index in which it was found.
local function clear_away(id, name, who)
  index('ZREM', name, id)
  if who then
    dequeue(id, who)
  end
end

-- Begins this job's attempt and answers as the script does (false: no job can start now), or removes the job from its
-- index.
local function try(id, name, who)
  local verdict, fault, record = 'sound', nil, glance(id)
  if not record then verdict, fault, record = judge(id) end
  if verdict == 'newer' then
    leave_to_newer(id, name, record.schema)
    clear_away(id, name, who)
  elseif verdict == 'missing' or verdict == 'sound' and record.status ~= 'queued' then
    clear_away(id, name, who)
    if verdict == 'missing' then unbook(id) end
  elseif verdict == 'damaged' then
    end_damaged(id, fault)
    clear_away(id, name, who)
  elseif (tonumber(record.deadline_ms) <= NOW or (start_by_of(record) or NOW + 1) <= NOW) and end_if_overdue(id, record) then
    clear_away(id, name, who)
  elseif record.lane and end_if_stopped(id, record) then
    clear_away(id, name, who)
  elseif not fits_memory(record) then
    return false
  else
    return begin(id, record, who)
  end
end

-- Whether there is anything that most claims need not look for: workers to be confirmed, jobs of other versions, retries, batch
-- jobs, closed models, or owners whose rates may allow jobs again.
local function look_for_rare()
  local places = {P .. 'unconfirmed_workers', P .. 'newer', P .. 'rated', P .. 'closed-models'}
  for i = models_at, what == 'quarantine' and 0 or #ARGV, 4 do
    local at, model = #places, ARGV[i]
    places[at + 1], places[at + 2], places[at + 3] = P .. 'retries:' .. model, P .. heads_of('batch', model), P .. 'heads:' .. model
  end
  return redis.call('EXISTS', unpack(places)) > 0
end

-- After a restart some workers may be unconfirmed, and older versions may have left jobs for this one. Answers whether
-- claims must wait.
local function prepare()
  --[[LIBRARY]]
  for i = models_at, what == 'quarantine' and 0 or #ARGV, 4 do
    if redis.call('EXISTS', P .. 'heads:' .. ARGV[i]) == 1 then take_over_queue(ARGV[i], CLEARED_AT_MOST) end
  end
  has_newer = redis.call('EXISTS', P .. 'newer') == 1
  -- Redis has just restarted: workers report lost claims within a moment.
  return redis.call('EXISTS', P .. 'unconfirmed_workers') == 1
    and NOW - bounded(index('HGET', 'server', 'since_ms'), 0, NOW, 0) < SETTLE_MS
end

if before then
  local ok, again = pcall(answer_again, before)
  if not ok then end_after(before, again) end
  return ok and redis.call('HGET', job_key(before), 'fence') == fence and again or false
end
has_rare = look_for_rare()
if has_rare then
  if prepare() then return false end
else
  closed_names = {}
end
local models = {}
for i = models_at, #ARGV, 4 do
  local model, rpm, tpm = ARGV[i], tonumber(ARGV[i + 2] or 0), tonumber(ARGV[i + 3] or 0)
  local is_blocked = rpm + tpm > 0 and rate_block(model, rpm, tpm)
  models[model] = not is_blocked and room_of(model, tonumber(ARGV[i + 1]), takes_batch, reserve)
end
if has_newer then
  for model in pairs(models) do take_back(model) end
end
if has_rare and has_owner_limits() then unpark_rated(CLEARED_AT_MOST) end
for _ = 1, CLEARED_AT_MOST do
  local id, name, who = (what == 'quarantine' and first_quarantined or first_pending)(models)
  if not id then
    return search.is_cut and 1 or false
  end
  local ok, begun = pcall(try, id, name, who)
  if not ok then
    end_after(id, begun)
    clear_away(id, name, who)
  elseif begun ~= nil then
    return begun
  end
end
return 1
