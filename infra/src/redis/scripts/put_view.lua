-- Writes the view of one entity, unless a later ledger record wrote it already.
-- KEYS: view    ARGV: ledger offset, body, ttl ms or '0' for none
-- Returns {'written'} | {'older', position in force}
local position = redis.call('HGET', KEYS[1], 'position')
if position and tonumber(ARGV[1]) < tonumber(position) then
  return {'older', position}
end
redis.call('HSET', KEYS[1], 'position', ARGV[1], 'body', ARGV[2])
if ARGV[3] == '0' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return {'written'}
