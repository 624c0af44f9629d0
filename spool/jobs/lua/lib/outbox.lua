-- The outbox: events of jobs and batches that have ended, for webhooks. The script that ends one writes its event, so an
-- event exists if and only if the end does. Workers deliver it (spool.webhooks).
local OUTSTANDING_AT_MOST = 10000
-- So many of an endpoint's are kept in any case, so that a receiver that is down does not take the events of others.
local OF_ENDPOINT_AT_LEAST = 100
-- Of all owners together. From half of it on, an owner with many is refused, so that those with few still have room.
local OUTSTANDING_OF_ALL_AT_MOST = 50000
local OUTSTANDING_OF_FEW = 100
local OUTSTANDING_KEPT_MS = 4 * 86400000
local SETTLED_OF_ALL_AT_MOST = 50000
local OUTBOX_KEPT_MS = 11 * 86400000
local SETTLED_AT_MOST = 1000
local SETTLED_KEPT_MS = 7 * 86400000
local SWEPT_AT_MOST = 100
local AHEAD_AT_MOST_US = 1e7

-- A lane's next delivery, and when it may begin: after its own time and the lane's pause. `later`: not before it.
local function schedule_lane(owner, lane, later)
  local name = owner .. ' ' .. lane
  local first = index('ZRANGE', 'lane:' .. lane, 0, 0, 'WITHSCORES')
  if not first[1] then
    index('ZREM', 'lanes', name)
    return
  end
  local paused = bounded(index('HGET', 'lane-state:' .. lane, 'paused_until_ms'), 0, 1e14, 0)
  index('ZADD', 'lanes', string.format('%.0f', math.max(first[2] / 1000, paused, later or 0)), name)
end

-- Whether a delivery has room among the outstanding ones: of its owner, and of all owners. `lane`: of an endpoint; nil of a
-- submit's webhook.
local function has_room_in_outbox(owner, lane)
  local own = index('ZCARD', 'deliveries:' .. owner) - index('ZCARD', 'settled-deliveries:' .. owner)
  local all = index('ZCARD', 'outstanding-deliveries')
  if all >= OUTSTANDING_OF_ALL_AT_MOST / 2 then
    -- Those that were lost from outside must not count for ever.
    all = all - index('ZREMRANGEBYSCORE', 'outstanding-deliveries', '-inf', NOW - OUTSTANDING_KEPT_MS)
  end
  if all >= OUTSTANDING_OF_ALL_AT_MOST / 2 then
    return all < OUTSTANDING_OF_ALL_AT_MOST and own < OUTSTANDING_OF_FEW
  end
  return own < OUTSTANDING_AT_MOST or lane and index('ZCARD', 'lane:' .. lane) < OF_ENDPOINT_AT_LEAST
end

-- Adds a delivery of an event to one receiver. Its id follows from both, so an end that Redis has lost and that is written
-- again has the same id. `event` has owner, subject, type, and fields for the payload; `target` has name, lane, url.
local function add_delivery(event, target)
  local id = 'msg_' .. event.subject .. '_' .. target.name
  local key, all = P .. 'delivery:' .. id, 'deliveries:' .. event.owner
  if redis.call('EXISTS', key) == 1 then return end
  if not has_room_in_outbox(event.owner, target.endpoint ~= '' and target.lane or nil) then
    index('HINCRBY', 'dropped-events', event.owner, 1)
    return
  end
  -- Each delivery of an owner has a time of its own, which orders a lane and a list.
  local now_us = TIME[1] * 1000000 + TIME[2]
  local newest = bounded(index('ZRANGE', all, -1, -1, 'WITHSCORES')[2], 0, now_us + AHEAD_AT_MOST_US, 0)
  local at = string.format('%.0f', math.max(now_us, newest + 1))
  local values = {'id', id, 'state', 'pending', 'endpoint', target.endpoint, 'lane', target.lane, 'url', target.url, 'at_us', at,
    'tried_from_ms', NOW, 'attempts', 0, 'failures', 0}
  for name, value in pairs(event) do
    values[#values + 1], values[#values + 2] = name, value
  end
  redis.call('HSET', key, unpack(values))
  index('ZADD', all, at, id)
  redis.call('PEXPIRE', P .. all, OUTBOX_KEPT_MS)
  index('ZADD', 'outstanding-deliveries', NOW, id)
  index('ZADD', 'lane:' .. target.lane, at, id)
  index('ZADD', 'lanes', 'NX', NOW, event.owner .. ' ' .. target.lane)
end

-- Whether a receiver wants this type of event: its list has it, or is empty.
local function wants_event(names, event_type)
  return names == '' or string.find(' ' .. names .. ' ', ' ' .. event_type .. ' ', 1, true) ~= nil
end

-- The webhook that a submit named, decoded; nil without one, or if it is damaged.
local function own_webhook(text)
  local ok, webhook = pcall(cjson.decode, text or '')
  if not ok or type(webhook) ~= 'table' or type(webhook.url) ~= 'string' or type(webhook.lane) ~= 'string' then return nil end
  if type(webhook.events or '') ~= 'string' then return nil end
  return webhook
end

-- Adds the deliveries of an event: to the webhook that its submit named, and to the owner's endpoints, except for a job of
-- a batch, whose batch has an event of its own.
local function post_event(event, webhook)
  webhook = own_webhook(webhook)
  if webhook and wants_event(webhook.events or '', event.type) then
    add_delivery(event, {name = 'own', endpoint = '', lane = webhook.lane, url = webhook.url})
  end
  if event.batch and event.batch ~= '' then return end
  local endpoints = index('HGETALL', 'endpoints:' .. event.owner)
  for i = 1, #endpoints, 2 do
    if wants_event(endpoints[i + 1], event.type) then
      add_delivery(event, {name = endpoints[i], endpoint = endpoints[i], lane = endpoints[i], url = ''})
    end
  end
end

-- Posts the end of a job. Responses of /v1 have OpenAI's names.
local function post_end(id, record, status)
  --[[LIBRARY]]
  local event = {owner = record.owner, subject = id, surface = record.surface or '', model = record.model, status = status,
    metadata = record.metadata or '', batch = record.batch or '', type = 'job.' .. status}
  if record.surface == 'responses' then
    local is_cut = record.finish_reason == 'length' or record.finish_reason == 'content_filter'
    event.type = 'response.' .. (status ~= 'succeeded' and status or is_cut and 'incomplete' or 'completed')
  end
  post_event(event, record.webhook)
end

-- Posts the end of a batch: completed, failed, cancelled or expired.
local function post_batch_end(batch, status)
  --[[LIBRARY]]
  local record = fields_if_any(P .. 'batch:' .. batch, 'owner', 'webhook', 'surface', 'metadata')
  if not record.owner then return end
  if not record.webhook and redis.call('EXISTS', P .. 'endpoints:' .. record.owner) == 0 then return end
  post_event({owner = record.owner, subject = batch, surface = record.surface or '', status = status,
    metadata = record.metadata or '', type = 'batch.' .. status}, record.webhook)
end

-- Adds an endpoint to those that get an owner's events, or removes it; what is outstanding to it then becomes due.
local function publish_endpoint(id, owner, is_enabled, events)
  if is_enabled then
    index('HSET', 'endpoints:' .. owner, id, events)
    return
  end
  index('HDEL', 'endpoints:' .. owner, id)
  redis.call('DEL', P .. 'lane-state:' .. id)
  schedule_lane(owner, id)
end

-- Deletes a delivery that has ended.
local function drop_settled(id, owner)
  redis.call('DEL', P .. 'delivery:' .. id)
  index('ZREM', 'settled-deliveries:' .. owner, id)
  index('ZREM', 'deliveries:' .. owner, id)
  index('ZREM', 'settled-of-all', owner .. ' ' .. id)
end

-- Ends a delivery: it is not tried again, and is listed for a week, the last thousand of an owner, and the last of all owners.
local function end_delivery(id, record, state)
  local settled = 'settled-deliveries:' .. record.owner
  redis.call('HSET', P .. 'delivery:' .. id, 'state', state, 'ended_ms', NOW)
  if redis.call('HDEL', P .. 'delivery:' .. id, 'is_gone') == 1 then redis.call('HSET', P .. 'delivery:' .. id, 'metadata', '') end
  redis.call('PEXPIRE', P .. 'delivery:' .. id, SETTLED_KEPT_MS)
  index('ZREM', 'lane:' .. record.lane, id)
  index('ZREM', 'outstanding-deliveries', id)
  index('ZADD', settled, NOW, id)
  index('ZADD', 'settled-of-all', NOW, record.owner .. ' ' .. id)
  redis.call('PEXPIRE', P .. settled, OUTBOX_KEPT_MS)
  local old = index('ZRANGEBYSCORE', settled, '-inf', NOW - SETTLED_KEPT_MS, 'LIMIT', 0, SWEPT_AT_MOST)
  local surplus = index('ZCARD', settled) - SETTLED_AT_MOST
  if surplus > #old then old = index('ZRANGE', settled, 0, math.min(surplus, SWEPT_AT_MOST) - 1) end
  for _, other in ipairs(old) do drop_settled(other, record.owner) end
  index('ZREMRANGEBYSCORE', 'settled-of-all', '-inf', NOW - SETTLED_KEPT_MS)
  surplus = index('ZCARD', 'settled-of-all') - SETTLED_OF_ALL_AT_MOST
  for _, other in ipairs(surplus > 0 and index('ZRANGE', 'settled-of-all', 0, math.min(surplus, SWEPT_AT_MOST) - 1) or {}) do
    local owner, its = string.match(other, '^(.-) (.*)$')
    if owner then drop_settled(its, owner) else index('ZREM', 'settled-of-all', other) end
  end
end

-- Deletes what deliveries keep of a job or batch that is deleted: its metadata, which an outstanding one still sends.
local function forget_deliveries(subject, owner)
  --[[LIBRARY]]
  if redis.call('EXISTS', P .. 'deliveries:' .. owner) == 0 then return end
  local names = index('HKEYS', 'endpoints:' .. owner)
  names[#names + 1] = 'own'
  for _, name in ipairs(names) do
    local key = P .. 'delivery:msg_' .. subject .. '_' .. name
    local state = fields_if_any(key, 'state').state
    if state == 'pending' then
      redis.call('HSET', key, 'is_gone', 1)
    elseif state then
      redis.call('HSET', key, 'metadata', '')
    end
  end
end
