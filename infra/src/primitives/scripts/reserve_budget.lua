-- Sets a part of a budget aside, if as much remains.
-- KEYS: as the budget says
-- ARGV: operation id, operations at most, the reservation's id, how much, for how long in ms
-- Returns {'reserved', reservation, left, remaining} | {'short', remaining} | {'none'} | {'again', 'full'}
--   | {'again', 'crowded'}
local known = before()
if known then
  return known
end
if is_full() then
  return {'again', 'full'}
end
if not had[1] then
  return answer({'none'})
end
if redis.call('HLEN', open) >= MOST_RESERVATIONS then
  return {'again', 'crowded'}
end
local amount = tonumber(ARGV[4])
if amount > remaining() then
  return answer({'short', text(remaining())})
end
reserved = reserved + amount
keep()
redis.call('HSET', open, ARGV[3], text(amount))
redis.call('ZADD', over, text(now + tonumber(ARGV[5])), ARGV[3])
return answer({'reserved', ARGV[3], text(amount), text(remaining())})
