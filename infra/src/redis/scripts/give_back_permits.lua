-- Gives back what a holder has of these permits; what it has not stays as it is.
-- KEYS: one sorted set for each permit
-- ARGV: holder
-- Returns {'given_back'}
for i = 1, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[1])
end
return {'given_back'}
