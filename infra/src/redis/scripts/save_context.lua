-- Makes a draft the new version of an agent's context, unless a newer process start of the agent has been here.
-- The bytes themselves never pass through here: carrying 16 KiB into a script costs more than all of the rest.
-- KEYS: context, draft (the versions' bytes are <context>:<version>)
-- ARGV: incarnation, its order in the ledger, a version that the new one must exceed, versions kept, kept ms, note
-- Returns {'kept', version, now ms} | {'fenced', the newer incarnation}
local key = KEYS[1]
local had = redis.call('HMGET', key, 'incarnation', 'order', 'version', 'versions')
local order = tonumber(ARGV[2])
if had[1] and had[1] ~= ARGV[1] then
  local theirs = tonumber(had[2])
  if order < theirs or (order == theirs and ARGV[1] < had[1]) then
    redis.call('UNLINK', KEYS[2])
    return {'fenced', had[1]}
  end
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local version = string.format('%.0f', math.max(tonumber(had[3] or '0'), tonumber(ARGV[3])) + 1)
redis.call('RENAME', KEYS[2], key .. ':' .. version)

local versions = (had[4] and had[4] ~= '') and (had[4] .. ' ' .. version) or version
local _, spaces = string.gsub(versions, ' ', ' ')
for _ = 1, spaces + 1 - tonumber(ARGV[4]) do
  local oldest, rest = string.match(versions, '^(%d+) (.+)$')
  redis.call('HDEL', key, 'note:' .. oldest)
  redis.call('UNLINK', key .. ':' .. oldest)
  versions = rest
end
redis.call('HSET', key, 'incarnation', ARGV[1], 'order', ARGV[2], 'version', version, 'versions', versions,
  'note:' .. version, now .. ' ' .. ARGV[6])
redis.call('PEXPIRE', key, ARGV[5])
return {'kept', version, now}
