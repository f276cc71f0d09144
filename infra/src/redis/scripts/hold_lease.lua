-- Takes or renews a lease; only its holder renews it.
-- KEYS: lease    ARGV: holder, value (JSON with that holder), ttl ms
-- Returns {'taken'} | {'renewed'} | {'held', remaining ms}
local value = redis.call('GET', KEYS[1])
if value and cjson.decode(value).holder ~= ARGV[1] then
  return {'held', redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {value and 'renewed' or 'taken'}
