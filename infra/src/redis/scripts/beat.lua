-- Replaces an agent's heartbeat, unless a newer process start's stands there that beats.
-- KEYS: heartbeats    ARGV: field, heartbeat, its incarnation, what of a newer start stood there at the last beat or ''
-- Returns what of a newer start stands there, or false if nothing does any more
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found and found ~= ARGV[4] and not string.find(found, '"incarnation":"' .. ARGV[3] .. '"', 1, true) then
  local read, beat = pcall(cjson.decode, found)
  if read and type(beat) == 'table' and type(beat.incarnation) == 'string' and beat.incarnation > ARGV[3] then
    return found
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return false
