-- Appends one reply to a list that nobody may ever read.
-- KEYS: list    ARGV: body, seconds kept, entries kept
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[3]), -1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
