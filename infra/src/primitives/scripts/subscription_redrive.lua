-- Takes dead letters back: they are sent again before anything else.
-- KEYS: hooks, dead, again
-- ARGV: <ws>/<id>, the message id of one, or '' for all
-- Returns {'redriven', how many} | {'none'}
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return {'none'}
end
local moved = 0
for _, letter in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  if ARGV[2] == '' or cjson.decode(letter).message_id == ARGV[2] then
    redis.call('RPUSH', KEYS[3], letter)
    redis.call('LREM', KEYS[2], 1, letter)
    moved = moved + 1
  end
end
return {'redriven', tostring(moved)}
