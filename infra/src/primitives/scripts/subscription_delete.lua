-- Removes a subscription and all that belongs to it.
-- KEYS: all, ids, hooks, dead, again
-- ARGV: <ws>/<id>
-- Returns {'deleted'} | {'none'}
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return {'none'}
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4], KEYS[5])
return {'deleted'}
