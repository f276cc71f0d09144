-- Notes up to where the mirror has the changes of a range (never back), tells who waits for it, and trims what is neither
-- owed to the mirror nor among the newest that are kept for subscriptions.
-- KEYS: mirrored, era, changes, trimmed, relay, again, news (a channel)
-- ARGV: place, era, how many are kept, slack before anything is trimmed, the oldest place that this relay would keep, or '',
--       who says so, the place before the first that it says it of
-- Returns {'ok', length of the stream} | {'closed'} where the stream is not the one that was read, or where another relay has
-- taken the range: what this one wrote may stand in Kafka behind newer versions, so the other is told to mirror it again.
local _, era = string.match(redis.call('GET', KEYS[2]) or '', '^(%x+):(%d+)$')
if era ~= ARGV[2] then
  return {'closed'}
end

local function parts(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end
local function before(a, b)
  local a_ms, a_n = parts(a)
  local b_ms, b_n = parts(b)
  return a_ms < b_ms or (a_ms == b_ms and a_n < b_n)
end

if redis.call('GET', KEYS[5]) ~= ARGV[6] then
  local again = redis.call('GET', KEYS[6])
  if not again or before(ARGV[7], again) then
    redis.call('SET', KEYS[6], ARGV[7])
  end
  return {'closed'}
end

local mirrored = redis.call('GET', KEYS[1]) or '0-0'
if before(mirrored, ARGV[1]) then
  mirrored = ARGV[1]
  redis.call('SET', KEYS[1], mirrored)
end
redis.call('PUBLISH', KEYS[7], mirrored)

local length, keep = redis.call('XLEN', KEYS[3]), tonumber(ARGV[3])
if length > keep + tonumber(ARGV[4]) then
  local removed = 0
  if ARGV[5] ~= '' and not before(mirrored, ARGV[5]) then
    removed = redis.call('XTRIM', KEYS[3], 'MINID', ARGV[5])
  else
    local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
    if newest[1] and not before(mirrored, newest[1][1]) then
      -- The mirror has all of it, so its length alone decides.
      removed = redis.call('XTRIM', KEYS[3], 'MAXLEN', keep)
    end
  end
  local first = removed > 0 and redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
  if first then
    -- The place just before what is kept: whoever has come that far has missed nothing.
    local ms, n = parts(first[1])
    if n > 0 then
      redis.call('SET', KEYS[4], string.format('%.0f-%.0f', ms, n - 1))
    else
      redis.call('SET', KEYS[4], string.format('%.0f-4294967295', ms - 1))
    end
  end
  length = length - removed
end
return {'ok', tostring(length)}
