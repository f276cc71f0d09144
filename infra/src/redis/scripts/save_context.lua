-- Keeps a new version of an agent's context, unless a newer process start of the agent has been here.
-- KEYS: context
-- ARGV: incarnation, its order in the ledger, a version that the new one must exceed, versions kept, kept ms, note, data
-- Returns {'kept', version, now ms} | {'fenced', the newer incarnation}
local had = redis.call('HMGET', KEYS[1], 'incarnation', 'order', 'version', 'versions')
local order = tonumber(ARGV[2])
if had[1] and had[1] ~= ARGV[1] then
  local theirs = tonumber(had[2])
  if order < theirs or (order == theirs and ARGV[1] < had[1]) then
    return {'fenced', had[1]}
  end
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local version = string.format('%.0f', math.max(tonumber(had[3] or '0'), tonumber(ARGV[3])) + 1)

local versions, gone = {}, {}
for known in string.gmatch(had[4] or '', '%d+') do
  versions[#versions + 1] = known
end
versions[#versions + 1] = version
while #versions > tonumber(ARGV[4]) do
  local oldest = table.remove(versions, 1)
  gone[#gone + 1] = 'note:' .. oldest
  gone[#gone + 1] = 'data:' .. oldest
end
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'order', ARGV[2], 'version', version,
  'versions', table.concat(versions, ' '), 'note:' .. version, now .. ' ' .. ARGV[6], 'data:' .. version, ARGV[7])
if #gone > 0 then
  redis.call('HDEL', KEYS[1], unpack(gone))
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {'kept', version, now}
