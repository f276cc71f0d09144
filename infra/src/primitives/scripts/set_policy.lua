-- Sets or removes what becomes of writes of keys that begin with a prefix, in one range. May be done again.
-- KEYS: policies, their version
-- ARGV: prefix, policy (JSON text) or '' to remove it, policies at most
-- Returns {'set'} | {'absent'} | {'full'}
local had = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1
if ARGV[2] == '' then
  if not had then return {'absent'} end
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  if not had and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return {'full'} end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
redis.call('SET', KEYS[2], string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2])))
return {'set'}
