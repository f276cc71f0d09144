-- Spends from a reservation, or returns what is left of it.
-- KEYS: as the budget says
-- ARGV: operation id, operations at most, the reservation's id, how much, or '' to return it
-- Returns {'reserved', reservation, left, remaining} | {'short', left} | {'fenced'} | {'again', 'full'}
local known = before()
if known then
  return known
end
if is_full() then
  return {'again', 'full'}
end
local left = redis.call('HGET', open, ARGV[3])
if not left then
  return answer({'fenced'})
end
left = tonumber(left)
if ARGV[4] == '' then
  close(ARGV[3])
  keep()
  return answer({'reserved', ARGV[3], '0', text(remaining())})
end
local amount = tonumber(ARGV[4])
if amount > left then
  return answer({'short', text(left)})
end
spent, reserved = spent + amount, reserved - amount
keep()
redis.call('HSET', open, ARGV[3], text(left - amount))
return answer({'reserved', ARGV[3], text(left - amount), text(remaining())})
