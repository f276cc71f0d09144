-- Ends a lease, if it is still its holder's.
-- KEYS: lease    ARGV: holder
-- Returns 1 if it was ended, 0 if it was gone or another's
local value = redis.call('GET', KEYS[1])
if value and cjson.decode(value).holder == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
