-- Reads one key, or what it was at a version.
-- KEYS: open, entry, history
-- ARGV: version, or '' for what is there now
-- Returns {'shut'} | {'none'} | {'entry', the text of `Stored`} | {'past', the text of `StoredPast`, what an entry has besides}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'shut'} end
local had = redis.call('HMGET', KEYS[2], 'e', 'x', 'v')
if had[1] and (ARGV[1] == '' or ARGV[1] == had[3]) then
  local time = redis.call('TIME')
  if had[2] == '' or tonumber(had[2]) > time[1] * 1000 + math.floor(time[2] / 1000) then
    return {'entry', had[1]}
  end
end
if ARGV[1] == '' then return {'none'} end
local kept = redis.call('XRANGE', KEYS[3], ARGV[1] .. '-0', ARGV[1] .. '-0')[1]
if not kept or kept[2][4] == '' then return {'none'} end
return {'past', kept[2][2], kept[2][4]}
