-- Notes views of a shard that were written, and takes the oldest off its shelf until the rest is within the limit.
-- KEYS: the shelf (a list of "<bytes> <key>", oldest first), its bytes in all.
-- ARGV: the limit in bytes; how long views stay in ms, 0 for ever; then bytes and key of each view.
-- Answers the keys that were taken off: their views are to be removed.
local limit, ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
local total = tonumber(redis.call('GET', KEYS[2]) or '0')
for i = 3, #ARGV, 2 do
    redis.call('RPUSH', KEYS[1], ARGV[i] .. ' ' .. ARGV[i + 1])
    total = total + tonumber(ARGV[i])
end
local gone = {}
while total > limit do
    local oldest = redis.call('LPOP', KEYS[1])
    if not oldest then
        total = 0
        break
    end
    local bytes, key = string.match(oldest, '^(%d+) (.+)$')
    total = total - tonumber(bytes)
    gone[#gone + 1] = key
end
if ttl > 0 then
    -- The newest view is gone by then, and so are all.
    redis.call('SET', KEYS[2], total, 'PX', ttl)
    redis.call('PEXPIRE', KEYS[1], ttl)
else
    redis.call('SET', KEYS[2], total)
    redis.call('PERSIST', KEYS[1])
end
return gone
