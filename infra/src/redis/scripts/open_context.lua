-- From now on this process start of an agent, and none before it, may write the agent's context.
-- KEYS: context (the versions' bytes are <context>:<version>)
-- ARGV: incarnation, its order in the ledger, kept ms
-- Returns {'open', versions that are there, oldest first} | {'fenced', the newer incarnation}
local had = redis.call('HMGET', KEYS[1], 'incarnation', 'order', 'versions')
local order = tonumber(ARGV[2])
if had[1] and had[1] ~= ARGV[1] then
  local theirs = tonumber(had[2])
  if order < theirs or (order == theirs and ARGV[1] < had[1]) then
    return {'fenced', had[1]}
  end
end
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'order', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for version in string.gmatch(had[3] or '', '%d+') do
  redis.call('PEXPIRE', KEYS[1] .. ':' .. version, ARGV[3])
end
return {'open', had[3] or ''}
