#!lua
-- Adds a piece, lines in blocks, to an open batch, all or nothing: checks that it is the next one, limits, budgets and
-- memory, and reserves room for its jobs. A piece that is added already is not added again.
-- Arguments:
--   first        the index of its first line, which must be the number of the batch's lines so far
--   count        its lines, bad ones included; input_bytes the bytes of its blocks
--   piece        '' or the digest of its key; with digest, that of its body
--   most         the lines that a batch may have
--   kind_count   the number of kinds of jobs; lane_count that of lanes
--   rest         for each kind the model, output_at_most and the number of jobs; for each lane its model, the number of its
--                lines and of its blocks, then for each block the position of its first line in the piece and its bytes
--   The others are as for submit.
-- Answers {outcome, id, …}: added or replayed, with the index of the piece's first line, its lines, and for each lane whose
-- first line may become a job now the lane, its position and the number of lines; moved, with the number of the batch's lines;
-- missing, sealed, stopped (it is cancelled, or has ended), conflict, too_many, many_pieces, many_models, damaged, full,
-- owner_full, owner_bytes, no_memory; quota_exceeded as for submit.
--[[ARGUMENTS id owner first:number count:number ttl_s:number piece digest most:number max_queued:number owner_queued:number
  owner_bytes:number share:number watermark:number budgets credential input_bytes:number kind_count:number lane_count:number
  rest...]]
local PIECES_AT_MOST = 10000
local MODELS_AT_MOST = 200
local FED_AT_ONCE = 64
local name = 'batch:' .. id
local key = P .. name

-- The lanes of the piece: model, lines, and its blocks as {position, bytes}.
local function lanes_of_piece()
  local lanes, at = {}, rest_at + 3 * kind_count
  for i = 1, lane_count do
    local lane = {model = ARGV[at], size = tonumber(ARGV[at + 1]), blocks = {}}
    local blocks = tonumber(ARGV[at + 2])
    for n = 1, blocks do lane.blocks[n] = {tonumber(ARGV[at + 1 + 2 * n]), ARGV[at + 2 + 2 * n]} end
    lanes[i], at = lane, at + 3 + 2 * blocks
  end
  return lanes
end

-- The positions at which the blocks of each of the batch's lanes begin; nil if its index is damaged.
local function firsts_of(lanes)
  if lanes == 0 then return {} end
  local ok, firsts = pcall(cjson.decode, index('HGET', name .. ':lines', 'index') or '')
  return ok and type(firsts) == 'table' and #firsts == lanes and firsts or nil
end

-- Gives each lane of the piece its number in the batch and the position of its first line. Answers the number of the
-- batch's lanes then, or nil and why the piece cannot be added.
local function place(lanes, count_of_lanes, firsts)
  local numbers, names = {}, {}
  for n = 0, count_of_lanes - 1 do names[2 * n + 1], names[2 * n + 2] = 'model:' .. n, 'size:' .. n end
  local values = names[1] and redis.call('HMGET', key, unpack(names)) or {}
  for n = 0, count_of_lanes - 1 do
    local size, blocks = bounded(values[2 * n + 2], 1, 1e9), firsts[n + 1]
    -- Else blocks might replace others.
    if not values[2 * n + 1] or not size or type(blocks) ~= 'table' or size <= bounded(blocks[#blocks], 0, 1e9, 1e9) then
      return nil, 'damaged'
    end
    numbers[values[2 * n + 1]] = {n, size}
  end
  for _, lane in ipairs(lanes) do
    local known = numbers[lane.model]
    if not known then
      known = {count_of_lanes, 0}
      count_of_lanes = count_of_lanes + 1
    end
    lane.number, lane.from = unpack(known)
  end
  if count_of_lanes > MODELS_AT_MOST then return nil, 'many_models' end
  return count_of_lanes
end

local function reserve()
  -- A bad line never waits in the queue, and an open batch may be open for days.
  local expected, job_count = sums_of_kinds(rest_at, rest_at + 3 * kind_count - 1)
  return reserve_for_batch(id, owner, {queued = job_count, bytes = input_bytes, expected = expected}, {
    queued = max_queued, owner_queued = owner_queued, owner_bytes = owner_bytes, share = share, watermark = watermark,
  })
end

local its, is_other = fields_if_any(key, 'owner', 'status', 'stop', 'total', 'lanes', 'pieces', 'paused', 'ttl_s')
if is_other or its.owner ~= owner or not its.total then
  return {'missing', id}
end
local earlier = piece ~= '' and index('HGET', name .. ':pieces', piece)
if earlier then
  local at, lines, said = string.match(earlier, '^(%d+) (%d+) (.*)$')
  if not at then return {'damaged', id} end
  return said == digest and {'replayed', id, tonumber(at), tonumber(lines)} or {'conflict', id}
end
if its.stop or its.status and not is_begun(its.status) then
  return {'stopped', id}
elseif its.status ~= 'open' then
  return {'sealed', id}
end
local total, lane_total = bounded(its.total, 0, 1e9), bounded(its.lanes, 0, MODELS_AT_MOST)
local pieces = bounded(its.pieces, 0, 1e9, 0)
local firsts = total and lane_total and firsts_of(lane_total)
if not firsts then
  return {'damaged', id}
elseif total + count > most then
  return {'too_many', id}
elseif pieces >= PIECES_AT_MOST then
  return {'many_pieces', id}
elseif total ~= first then
  return {'moved', id, total}
end
local lanes = lanes_of_piece()
local lanes_then, problem = place(lanes, lane_total, firsts)
if problem then
  return {problem, id}
end
local exceeded = budgets ~= '' and budget_refusal(id, owner, credential, budgets)
if exceeded then
  return exceeded
end
local refusal = reserve()
if refusal then
  return {refusal, id}
end
local changes, feedable = {'total', total + count, 'lanes', lanes_then, 'pieces', pieces + 1}, {}
changes[#changes + 1], changes[#changes + 2] = 'ttl_s', math.max(ttl_s, bounded(its.ttl_s, 1, 1e9, 0))
-- Tells feeders that have read blocks whether these are still the ones: Redis may have lost a piece, and its numbers were
-- given to another one.
changes[#changes + 1], changes[#changes + 2] = 'piece_at', string.format('%d', TIME[1] * 1000000 + TIME[2])
for _, lane in ipairs(lanes) do
  local starts = firsts[lane.number + 1] or {}
  firsts[lane.number + 1] = starts
  for _, block in ipairs(lane.blocks) do
    local from = lane.from + block[1]
    redis.call('HSET', P .. name .. ':lines', lane.number .. ':' .. from, block[2])
    starts[#starts + 1] = from
  end
  for _, value in ipairs({'size:' .. lane.number, lane.from + lane.size, 'model:' .. lane.number, lane.model}) do
    changes[#changes + 1] = value
  end
  local waiting = index('ZCARD', name .. ':flight:' .. lane.number)
  local fed = fed_of(id, lane.number, redis.call('HGET', key, 'fed:' .. lane.number))
  if not its.paused and fed == lane.from and waiting < FED_AT_ONCE then
    feedable[#feedable + 1] = {lane.number, lane.from, math.min(lane.size, FED_AT_ONCE - waiting)}
  end
end
redis.call('HSET', P .. name .. ':lines', 'index', cjson.encode(firsts))
redis.call('HSET', key, unpack(changes))
redis.call('HINCRBY', key, 'queued', count)
if piece ~= '' then index('HSET', name .. ':pieces', piece, string.format('%d %d %s', first, count, digest)) end
return {'added', id, first, count, feedable}
