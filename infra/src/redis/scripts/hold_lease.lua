-- Takes or renews a lease; only its holder renews it.
-- KEYS: lease, era    ARGV: holder, value (JSON with that holder), ttl ms
-- The era is the server's time (µs) of the first lease since these data began: it tells how long nothing was lost.
-- Returns {'taken'} | {'renewed'} | {'held', remaining ms}
local value = redis.call('GET', KEYS[1])
if value and cjson.decode(value).holder ~= ARGV[1] then
  return {'held', redis.call('PTTL', KEYS[1])}
end
local now = redis.call('TIME')
redis.call('SET', KEYS[2], string.format('%.0f', now[1] * 1000000 + now[2]), 'NX')
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {value and 'renewed' or 'taken'}
