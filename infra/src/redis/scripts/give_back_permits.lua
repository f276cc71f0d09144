-- Gives back what a holder has of these permits; what it has not stays as it is.
-- KEYS: guard, then one sorted set for each permit
-- ARGV: shard, epoch of the issuing owner, holder, guard kept ms, '1' if nothing is on record
-- Returns {'given_back'} | {'fenced', newest}
-- Whoever gives back an attempt's permits at its end has read in the ledger that it is over, so nobody is refused; but an older owner, who has not,
-- must not hold it again.
local newest = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
-- What was taken in vain and is not on record a newer owner may have taken for the same attempt: that is its own then.
if ARGV[5] == '1' and tonumber(ARGV[2]) < newest then
  return {'fenced', tostring(newest)}
end
if tonumber(ARGV[2]) > newest then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
for i = 2, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[3])
end
return {'given_back'}
