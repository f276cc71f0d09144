-- Makes a draft the snapshot of this id, and takes the oldest off the shelf until the rest is within the limits.
-- KEYS: draft, snapshot, index (zset), bytes (hash), last
-- ARGV: id, head, bytes, most snapshots, most bytes, kept ms
-- Returns {'exists'} | {'kept', when it came in µs, ids to be removed...}
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('UNLINK', KEYS[1])
  return {'exists'}
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local came = math.max(now, tonumber(redis.call('GET', KEYS[5]) or '0') + 1)
local kept = tonumber(ARGV[6])
redis.call('HSET', KEYS[1], 'head', ARGV[2])
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('SET', KEYS[5], string.format('%.0f', came))
redis.call('ZADD', KEYS[3], string.format('%.0f', came), ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[3])

local answer = {'kept', string.format('%.0f', came)}
local function forget(id)
  redis.call('ZREM', KEYS[3], id)
  redis.call('HDEL', KEYS[4], id)
  answer[#answer + 1] = id
end
-- Those that have gone by themselves no longer count.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now - kept * 1000))) do
  forget(id)
end
local total = 0
for _, bytes in ipairs(redis.call('HVALS', KEYS[4])) do
  total = total + tonumber(bytes)
end
local oldest = redis.call('ZRANGE', KEYS[3], 0, -1)
local count, at = #oldest, 1
while count > 1 and (count > tonumber(ARGV[4]) or total > tonumber(ARGV[5])) do
  total = total - tonumber(redis.call('HGET', KEYS[4], oldest[at]) or '0')
  forget(oldest[at])
  count, at = count - 1, at + 1
end
redis.call('PEXPIRE', KEYS[3], ARGV[6])
redis.call('PEXPIRE', KEYS[4], ARGV[6])
return answer
