-- Writes what the mirror has of a key where that is newer than what is here: the entry or its tombstone, with its place in
-- the index, its expiry, the figures and one line of history. Not in the stream of changes: nothing changes by it.
-- The form of an entry is that of `write_state.lua`.
-- KEYS: entry, history, index, expiring, counts
-- ARGV: key, <workspace>/<key>, what stands before its first slash, 'written' or 'gone', version, text (of the entry; of the
--       tombstone's line), bytes of the value, expires ms or '', created ms, what the line of history has after the value,
--       history kept ms, lines of history kept
-- Returns {'had', version here} | {'wrote', version}
local had = redis.call('HMGET', KEYS[1], 'v', 'n', 'x')
if had[1] and tonumber(had[1]) >= tonumber(ARGV[5]) then
  return {'had', had[1]}
end
local alive, bytes = had[2] and true or false, tonumber(had[2] or '0')
local version, text, history_ms = ARGV[5], ARGV[6], ARGV[11]

local function count(what, by_how_much)
  if by_how_much ~= 0 then
    redis.call('HINCRBY', KEYS[5], what .. ':' .. ARGV[3], by_how_much)
  end
end

if had[3] and had[3] ~= '' then
  redis.call('ZREM', KEYS[4], ARGV[2])
end
local line, more
if ARGV[4] == 'written' then
  local size = tonumber(ARGV[7])
  redis.call('HSET', KEYS[1], 'v', version, 'e', text, 'n', ARGV[7], 'x', ARGV[8], 'c', ARGV[9])
  redis.call('PERSIST', KEYS[1])
  redis.call('ZADD', KEYS[3], 0, ARGV[1])
  if ARGV[8] ~= '' then
    redis.call('ZADD', KEYS[4], ARGV[8], ARGV[2])
  end
  count('b', size - bytes)
  if not alive then
    count('k', 1)
  end
  line = '{"version":' .. version .. ',"value":' .. string.sub(text, 10, 9 + size) .. ARGV[10]
  more = string.match(string.sub(text, 10 + size), '^,"version":%d+(.*)$') or ''
else
  redis.call('HDEL', KEYS[1], 'e', 'n', 'x', 'c')
  redis.call('HSET', KEYS[1], 'v', version)
  redis.call('PEXPIRE', KEYS[1], history_ms)
  redis.call('ZREM', KEYS[3], ARGV[1])
  if alive then
    count('b', -bytes)
    count('k', -1)
  end
  line, more = text, ''
end
-- A line of this number or a later one may be there already.
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if not last or tonumber(string.match(last[1], '^%d+')) < tonumber(version) then
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[12], version .. '-0', 'h', line, 'm', more)
  redis.call('PEXPIRE', KEYS[2], history_ms)
end
return {'wrote', version}
