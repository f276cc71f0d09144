-- The changes of a range after a place, for whoever was told all up to there.
-- KEYS: open, era, eras, changes, trimmed
-- ARGV: era of the place, place, how many at most
-- Returns {'ok', era, elements} | {'lost', era, place up to which it was trimmed} | {'closed'}
local _, era = string.match(redis.call('GET', KEYS[2]) or '', '^(%x+):(%d+)$')
if not era or redis.call('EXISTS', KEYS[1]) == 0 then
  return {'closed'}
end
local function parts(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end
local function before(a, b)
  local a_ms, a_n = parts(a)
  local b_ms, b_n = parts(b)
  return a_ms < b_ms or (a_ms == b_ms and a_n < b_n)
end
local trimmed = redis.call('GET', KEYS[5]) or '0-0'
local until_place
if ARGV[1] ~= era then
  until_place = redis.call('HGET', KEYS[3], ARGV[1])
  if not until_place or before(until_place, ARGV[2]) then
    return {'lost', era, trimmed}
  end
end
if before(ARGV[2], trimmed) then
  return {'lost', era, trimmed}
end
local found = redis.call('XRANGE', KEYS[4], '(' .. ARGV[2], '+', 'COUNT', ARGV[3])
return {'ok', era, found}
