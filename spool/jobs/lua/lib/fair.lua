-- Fairness by tokens. A flow's virtual time is the number of tokens that it was given, divided by its weight; a claim
-- takes the flow with the smallest one. `virtual:FLOW` has one for each model of the flow ('@MODEL'), and one over all
-- models ('@'); and the part of each that is only charged, and not yet settled ('+MODEL', '+'). `clock` has the settled
-- virtual times of the flows that were served last: "CLASS:MODEL", and "CLASS:" over all models.
-- This is start-time fair queueing (Goyal, Vin, Cheng 1996), once for each class and model.
-- Virtual times are whole numbers, so that they add up exactly: this many for a token at weight 1.
local UNIT = 1000
local VIRTUAL_AT_MOST = 1e15
-- An idle flow's virtual time is forgotten after this time. So the number of flows that Redis knows is bounded.
local VIRTUAL_MS = 3600000
local BYTES_A_TOKEN = 4
-- The estimate for an answer of unknown length, before the first answer of a model ends.
local ANSWER_TOKENS = 500
local TOKENS_AT_MOST = 1e7
-- The use of one model delays a flow at another one by at most this many times what it used. Without a bound, a flow that
-- uses a fast model would never get a turn at a slow one.
local DELAY_AT_MOST = 8
-- A flow that uses more models than this is delayed only at the model that it used, so that an end has a bounded cost.
local DELAYED_AT_MOST = 32

-- The flow whose virtual times this call has read, its model, and the times.
local served = {}

local function class_of(record)
  return record.priority == 'batch' and 'batch' or 'interactive'
end

-- The name of a job's flow: CLASS:OWNER:KEY. The fairness key is encoded, so that names are unambiguous.
local function flow_name(record)
  local key = record.fairness_key or ''
  if key ~= '' then
    key = string.gsub(key, '[^%w._-]', function(byte) return string.format('%%%02X', string.byte(byte)) end)
  end
  return class_of(record) .. ':' .. record.owner .. ':' .. key
end

-- What the queue and the ledger need of a job's record: owner, batch ('' for none), model and flow. `record` needs
-- owner, batch, model, priority and fairness_key.
local function who_of(record)
  return {owner = record.owner, batch = record.batch or '', model = record.model, flow = flow_name(record)}
end

local function class_of_flow(flow)
  return string.match(flow, '^%l+')
end

local function heads_of(class, model)
  return 'heads:' .. class .. ':' .. model
end

local function virtual(value)
  return bounded(value, 0, VIRTUAL_AT_MOST, 0)
end

-- Adds 1 to a number of `clock`, and answers it; a damaged one begins again.
local function tick(name)
  local count = redis.pcall('HINCRBY', P .. 'clock', name, 1)
  if type(count) == 'number' and count >= 0 and count <= VIRTUAL_AT_MOST then return count end
  if is_refusal(error_of(count) or '') then error(error_of(count)) end
  index('HSET', 'clock', name, 1)
  return 1
end

local function set_virtual(flow, ...)
  index('HSET', 'virtual:' .. flow, ...)
  redis.call('PEXPIRE', P .. 'virtual:' .. flow, VIRTUAL_MS)
end

-- A flow begins to wait for a model: not before the settled time of the flow that was served last, because credit from
-- idle time does not count. With that flow's charges, it would wait for what the estimates of running jobs exceed. The
-- clock's tick puts flows that begin at the same time in the order in which they came.
local function activate(flow, model)
  local class = class_of_flow(flow)
  local known_here, known_all = unpack(index('HMGET', 'virtual:' .. flow, '@' .. model, '@'))
  local here = math.max(virtual(known_here), tick(class .. ':' .. model))
  set_virtual(flow, '@' .. model, here, '@', math.max(virtual(known_all), virtual(index('HGET', 'clock', class .. ':'))))
  index('ZADD', heads_of(class, model), here, flow)
end

-- A flow that has waiting jobs returns to the heads with the virtual time that it has. Answers whether it has any.
local function show(flow, model)
  if redis.call('EXISTS', P .. 'flow:' .. flow .. ':' .. model) == 0 then return false end
  local class = class_of_flow(flow)
  local here = index('HGET', 'virtual:' .. flow, '@' .. model) or index('HGET', 'clock', class .. ':' .. model)
  index('ZADD', heads_of(class, model), 'NX', virtual(here), flow)
  return true
end

-- The virtual times of a flow: what is charged over all models, the time over all models, and the same at this one. Those
-- of a flow that this call has read before are as they were then.
local function virtual_at(flow, model)
  if served.flow ~= flow or served.model ~= model then
    local known = index('HMGET', 'virtual:' .. flow, '+', '@', '+' .. model, '@' .. model)
    served.flow, served.model = flow, model
    for i = 1, 4 do served[i] = virtual(known[i]) end
  end
  return unpack(served)
end

-- Sets the clocks to the flow that a claim serves. `here` is its virtual time at the model.
local function serve(flow, model, here)
  local class = class_of_flow(flow)
  local all_charged, all, charged = virtual_at(flow, model)
  local here_settled, all_settled = here - charged, all - all_charged
  index('HSET', 'clock', class .. ':' .. model, math.max(0, here_settled), class .. ':', math.max(0, all_settled))
end

-- The weight of a job that is not charged yet: its own, or its owner's, which bounds it. `record` needs owner and
-- fairness_weight.
local function weight_of(record)
  local own, most = bounded(record.fairness_weight, 0.1, 10), bounded(limits_of(record.owner or '').weight, 0.1, 10)
  if own and most then return math.min(own, most) end
  return own or most or 1
end

-- The weight with which a job was charged: `weight` in its record if its owner's weight changed it. The owner's may be
-- another one now, but a settlement must take back what was charged.
local function weight_charged(record)
  return bounded(record.weight, 0.1, 10) or bounded(record.fairness_weight, 0.1, 10, 1)
end

local function virtual_of(tokens, weight)
  return math.floor(tokens * UNIT / weight + 0.5)
end

local function length_of(key)
  local length = redis.pcall('STRLEN', key)
  return type(length) == 'number' and length or 0
end

-- The estimated tokens of a job's prompt. `record` needs earlier_bytes; `own_bytes` is the size of its input, if known.
local function prompt_tokens(id, record, own_bytes)
  local bytes = (own_bytes or length_of(job_key(id) .. ':input')) + bounded(record.earlier_bytes, 0, 1e12, 0)
  return math.min(TOKENS_AT_MOST, math.ceil(bytes / BYTES_A_TOKEN))
end

-- Charges a job's flow for its first attempt. `record` needs the fields for `who_of` and `prompt_tokens`,
-- max_tokens and fairness_weight. Answers the tokens, and the weight if it is not the job's own. Later attempts are not
-- charged. max_tokens is a bound, and often far
-- too high, so the average counts if it is smaller.
-- `has_more`: other jobs of its flow wait.
local function charge(id, record, input_bytes, has_more)
  local flow, model = flow_name(record), record.model
  local average = bounded(index('HGET', 'output-tokens', model), 0, TOKENS_AT_MOST, ANSWER_TOKENS)
  local answer = math.min(bounded(record.max_tokens, 0, TOKENS_AT_MOST, TOKENS_AT_MOST), average)
  local tokens = math.max(1, prompt_tokens(id, record, input_bytes) + answer)
  local weight = weight_of(record)
  local more, all_charged, all, charged, here = virtual_of(tokens, weight), virtual_at(flow, model)
  set_virtual(flow, '+', all_charged + more, '@', all + more, '+' .. model, charged + more, '@' .. model, here + more)
  if has_more then index('ZADD', heads_of(class_of_flow(flow), model), 'XX', here + more, flow) end
  return tokens, weight ~= weight_charged(record) and weight or nil
end

-- The average number of tokens of a model's answers follows an answer. Skips small changes, which are not worth a write.
local function note_tokens(model, tokens)
  local average = bounded(index('HGET', 'output-tokens', model), 0, TOKENS_AT_MOST)
  local new = math.ceil((average or tokens) + (tokens - (average or tokens)) / 10)
  if not average or math.abs(new - average) > average / 50 then
    index('HSET', 'output-tokens', model, new)
  end
end

-- Cache of the usage of the job that this call ends last, since several functions ask for it.
local usage_seen = {}

-- A job's usage as a table, from JSON or nil; {} if there is none.
local function decoded_usage(usage)
  if not usage then return {} end
  if usage_seen.text ~= usage then
    local ok, said = pcall(cjson.decode, usage)
    usage_seen.text, usage_seen.said = usage, ok and type(said) == 'table' and said or {}
  end
  return usage_seen.said
end

-- The entries after number `first` up to `last`, as far as the log has them: a damaged number would charge the job's owner
-- and model for what nobody generated.
local function entries_since(id, first, last)
  local there = redis.pcall('XLEN', job_key(id) .. ':log')
  return math.min(bounded(last, 0, VIRTUAL_AT_MOST, 0) - first, type(there) == 'number' and there or 0)
end

-- The tokens that an ended job has used: as its usage says, else as its prompt and log show. `record` needs
-- earlier_bytes, last and attempt_first; `usage` is JSON, or nil.
local function tokens_used(id, record, usage)
  local said = decoded_usage(usage)
  local output = bounded(said.output_tokens, 0, TOKENS_AT_MOST)
  local input = bounded(said.input_tokens, 0, TOKENS_AT_MOST) or prompt_tokens(id, record)
  if output then return input + output, output end
  local entries = entries_since(id, bounded(record.attempt_first, 0, VIRTUAL_AT_MOST, 0), record.last)
  local counted = math.max(0, entries, math.ceil(length_of(job_key(id) .. ':text') / BYTES_A_TOKEN))
  return input + math.min(counted, TOKENS_AT_MOST)
end

-- The virtual times of a flow, as names and values: all of them, or of one model if there are many.
local function virtual_times(flow, model)
  local name, kept = 'virtual:' .. flow, {}
  local all = index('HGETALL', name)
  if #all <= 4 * (DELAYED_AT_MOST + 1) then return all end
  for field, value in pairs(index_fields(name, '@', '+', '@' .. model, '+' .. model)) do
    kept[#kept + 1], kept[#kept + 2] = field, value
  end
  return kept
end

-- Replaces a job's charge by what it has used. At other models the flow is delayed by its use, within a bound. Skips a
-- flow that is forgotten: it begins at the clock.
local function settle_charge(id, record, status, usage)
  local charged = bounded(record.charge, 0, 3 * TOKENS_AT_MOST)
  if not charged then return end
  local used, output = tokens_used(id, record, usage)
  if output and status == 'succeeded' then note_tokens(record.model, output) end
  local flow, model = flow_name(record), record.model
  local class, known, new = class_of_flow(flow), virtual_times(flow, model), {}
  local weight = weight_charged(record)
  local charge_here, used_here = virtual_of(charged, weight), virtual_of(used, weight)
  for i = 1, #known, 2 do
    local name, now = known[i], virtual(known[i + 1])
    local kind, at = string.match(name, '^([@+])(.*)$')
    if at == model or at == '' then
      now = math.max(0, now - charge_here + (kind == '@' and used_here or 0))
    elseif kind == '@' then
      local most = virtual(index('HGET', 'clock', class .. ':' .. at)) + DELAY_AT_MOST * used_here
      now = math.max(now, math.min(now + used_here, most))
    end
    new[#new + 1], new[#new + 2] = name, now
    if kind == '@' and at ~= '' then index('ZADD', heads_of(class, at), 'XX', now, flow) end
  end
  if #new > 0 then set_virtual(flow, unpack(new)) end
end
