-- Whether the mirror has a change: only where the change itself is still in this stream, so that one which was lost with
-- Redis is not taken for mirrored because later ones are.
-- KEYS: mirrored, changes
-- ARGV: place
-- Returns 'yes' | 'not yet' | 'unknown'
local function parts(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end
if #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 0 then
  return 'unknown'
end
local a_ms, a_n = parts(redis.call('GET', KEYS[1]) or '0-0')
local b_ms, b_n = parts(ARGV[1])
if a_ms > b_ms or (a_ms == b_ms and a_n >= b_n) then
  return 'yes'
end
return 'not yet'
