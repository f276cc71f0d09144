-- Puts one body into an agent's inbox, at most once per attempt and never for a deposed owner.
-- KEYS: inbox, guard, seen
-- ARGV: shard, epoch of the issuing owner, attempt id or '', body,
--       seen kept ms, seen kept count, inbox limit, guard kept ms,
--       'RPUSH', or 'LPUSH' for what is taken before all that waits
-- Returns {'accepted'} | {'already_there'} | {'fenced', newest} | {'full'}
local shard, epoch, attempt, body = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local newest = redis.call('HGET', KEYS[2], shard)
if not newest or epoch > tonumber(newest) then
  redis.call('HSET', KEYS[2], shard, ARGV[2])
  newest = ARGV[2]
end
redis.call('PEXPIRE', KEYS[2], ARGV[8])

-- First what is there already: an attempt that was taken counts as delivered, whoever repeats it.
if attempt ~= '' then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - tonumber(ARGV[5]))
  if redis.call('ZSCORE', KEYS[3], attempt) then
    return {'already_there'}
  end
end
if epoch < tonumber(newest) then
  return {'fenced', newest}
end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[7]) then
  return {'full'}
end
redis.call(ARGV[9], KEYS[1], body)
if attempt ~= '' then
  redis.call('ZADD', KEYS[3], now, attempt)
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[6]))
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
return {'accepted'}
