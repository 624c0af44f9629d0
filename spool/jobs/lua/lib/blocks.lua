-- Blocks of conversations (spool.jobs.conversation_blocks), shared by the jobs of an owner.
-- The users of a block are jobs, each with the time until which it needs the block, and following blocks, without a
-- time.
-- A block without users is deleted at once. The keeper checks a block again when the time of its last user is over.
-- Only jobs with earlier turns call this code.
local BLOCK_OVERHEAD = tonumber('--[[BLOCK_OVERHEAD]]')
local FORGOTTEN_AT_ONCE = 300

local function block_name(owner, digest)
  return 'block:' .. owner .. ':' .. digest
end

local function block_users(owner, digest)
  return 'block-users:' .. owner .. ':' .. digest
end

local function is_digest(value)
  return type(value) == 'string' and #value == 32 and not string.find(value, '%X')
end

local function is_stored(owner, digest)
  return redis.pcall('HEXISTS', P .. block_name(owner, digest), 'messages') == 1
end

-- The time of a block's last user: infinity if another block follows it, nil without users.
local function last_use(owner, digest)
  local users = block_users(owner, digest)
  index('ZREMRANGEBYSCORE', users, '-inf', NOW)
  while true do
    local last = index('ZRANGE', users, -1, -1, 'WITHSCORES')
    local until_ms = tonumber(last[2])
    if until_ms ~= math.huge or is_stored(owner, last[1]) then return until_ms end
    -- The following block was deleted from outside.
    index('ZREM', users, last[1])
  end
end

-- Deletes a block without users, then the blocks before it. At most `most` now; the keeper's next round does the rest.
-- Answers the number of blocks checked.
local function settle(owner, digest, most)
  local looked = 0
  while is_digest(digest) do
    local name = block_name(owner, digest)
    local until_ms = NOW
    if looked < most then
      until_ms = last_use(owner, digest)
    end
    if until_ms and until_ms < math.huge then
      index('ZADD', 'expiring', until_ms, owner .. ' ' .. name)
    else
      index('ZREM', 'expiring', owner .. ' ' .. name)
    end
    if until_ms then break end
    looked = looked + 1
    local before = redis.pcall('HGET', P .. name, 'before')
    redis.call('DEL', P .. name, P .. block_users(owner, digest))
    unbook(name)
    if is_digest(before) then
      index('ZREM', block_users(owner, before), digest)
    end
    digest = before
  end
  return looked + 1
end

-- Registers that `user` needs this block and all before it until `until_ms`; without a time, removes the user.
local function hold_blocks(owner, digest, user, until_ms)
  --[[LIBRARY]]
  if not is_digest(digest) then return end
  if until_ms then
    index('ZADD', block_users(owner, digest), until_ms, user)
  else
    index('ZREM', block_users(owner, digest), user)
  end
  settle(owner, digest, FORGOTTEN_AT_ONCE)
end

-- Checks a block by its name, after time has passed or a key was changed from outside. Answers the number of blocks
-- checked.
local function check_block(name, most)
  --[[LIBRARY]]
  local owner, digest = string.match(name, '^block:(.+):(%x+)$')
  if not owner then return 0 end
  local before, who = booked(name)
  if not who and is_stored(owner, digest) then
    book(name, {owner = owner, batch = '', model = '-'}, before, {0, 0, size_of(P .. name), 0, 0})
  end
  return settle(owner, digest, most)
end

-- Answers the blocks that are not stored, and their size in bytes; or nil, and the number of the first block whose
-- messages are needed. `path` has digests and messages ('' if not sent) in turn, from the beginning of the
-- conversation.
local function missing_blocks(owner, path)
  --[[LIBRARY]]
  local missing, bytes = {}, 0
  for i = 1, #path, 2 do
    if not is_stored(owner, path[i]) then
      if path[i + 1] == '' then return nil, (i + 1) / 2 end
      missing[#missing + 1] = i
      bytes = bytes + #path[i + 1] + BLOCK_OVERHEAD
    end
  end
  return missing, bytes
end

-- Stores the missing blocks, and registers `user` for all blocks.
local function store_blocks(owner, path, missing, user, until_ms)
  --[[LIBRARY]]
  for _, i in ipairs(missing) do
    local before, messages, name = path[i - 2] or '', path[i + 1], block_name(owner, path[i])
    redis.call('DEL', P .. name)
    redis.call('HSET', P .. name, 'before', before, 'messages', messages)
    book(name, {owner = owner, batch = '', model = '-'}, (booked(name)), {0, 0, #messages + BLOCK_OVERHEAD, 0, 0})
    if before ~= '' then
      index('ZADD', block_users(owner, before), '+inf', path[i])
    end
  end
  hold_blocks(owner, path[#path - 1], user, until_ms)
end

-- The messages of a block and of all before it, last block first, up to the first missing block.
local function read_blocks(owner, digest)
  --[[LIBRARY]]
  local found, seen = {}, {}
  while is_digest(digest) and not seen[digest] do
    local block = fields_if_any(P .. block_name(owner, digest), 'before', 'messages')
    if not block.messages then break end
    found[#found + 1], seen[digest], digest = block.messages, true, block.before
  end
  return found
end
