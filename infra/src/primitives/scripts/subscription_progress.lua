-- Notes how far a webhook is, unless it was deleted, or enabled by somebody else meanwhile.
-- KEYS: hooks, dead
-- ARGV: <ws>/<id>, what was noted when it was read, what is to be noted, a dead letter or '', how many of those are kept
-- Returns {'noted'} | {'changed', what is noted now} | {'none'}
local noted = redis.call('HGET', KEYS[1], ARGV[1])
if not noted then
  return {'none'}
end
if noted ~= ARGV[2] then
  return {'changed', noted}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('RPUSH', KEYS[2], ARGV[4])
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[5]), -1)
end
return {'noted'}
