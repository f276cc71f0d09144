-- Adds to a counter within bounds. Numbers are decimal texts throughout: Lua's own are exact up to 2^53 only.
-- KEYS: [1] the counter, [2], [3] its operations
-- ARGV: operation id, operations at most, how much, floor or '', ceiling or ''
-- Returns {'value', value} | {'outside', value} | {'overflow', value} | {'again', 'full'}
local add, floor, ceiling = ARGV[3], ARGV[4], ARGV[5]

-- Whether a < b, both as Redis writes integers: no leading zeros, no plus.
local function less(a, b)
  local a_below, b_below = string.sub(a, 1, 1) == '-', string.sub(b, 1, 1) == '-'
  if a_below ~= b_below then
    return a_below
  end
  if a_below then
    a, b = string.sub(b, 2), string.sub(a, 2)
  end
  if #a ~= #b then
    return #a < #b
  end
  return a < b
end

local known = before()
if known then
  return known
end
if is_full() then
  return {'again', 'full'}
end
local had = redis.call('GET', KEYS[1])
local added = redis.pcall('INCRBY', KEYS[1], add)
if type(added) == 'table' and added.err then
  if not string.find(added.err, 'overflow', 1, true) then
    return added
  end
  return answer({'overflow', had or '0'})
end
local value = redis.call('GET', KEYS[1])
if (floor ~= '' and less(value, floor)) or (ceiling ~= '' and less(ceiling, value)) then
  if had then
    redis.call('SET', KEYS[1], had)
  else
    redis.call('DEL', KEYS[1])
  end
  return answer({'outside', had or '0'})
end
return answer({'value', value})
