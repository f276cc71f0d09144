-- Makes a subscription, unless there are as many as there may be.
-- KEYS: all, ids, hooks
-- ARGV: <ws>/<id>, <ws>/, the first text behind all that begin so, text, how many there may be, is it a webhook ('1' or '0'),
--       how many webhooks there may be in all
-- Returns {'made'} | {'full'} | {'full of webhooks'}
if redis.call('ZLEXCOUNT', KEYS[2], '[' .. ARGV[2], '(' .. ARGV[3]) >= tonumber(ARGV[5]) then
  return {'full'}
end
if ARGV[6] == '1' then
  if redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[7]) then
    return {'full of webhooks'}
  end
  redis.call('HSET', KEYS[3], ARGV[1], '{}')
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return {'made'}
