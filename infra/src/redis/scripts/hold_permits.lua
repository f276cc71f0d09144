-- Holds permits that the ledger says are held: also where Redis has lost them, and over the limit if need be.
-- KEYS: era, guard, then one sorted set for each permit
-- ARGV: shard, epoch of the issuing owner, holder, held for ms, guard kept ms
-- Returns {'held', era} | {'fenced', newest}
local shard, epoch, holder = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local newest = tonumber(redis.call('HGET', KEYS[2], shard) or '0')
if epoch < newest then
  return {'fenced', tostring(newest)}
end
if epoch > newest then
  redis.call('HSET', KEYS[2], shard, ARGV[2])
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known, era = string.match(redis.call('GET', KEYS[1]) or '', '^(%x+):(%d+)$')
if known ~= run then
  era = string.format('%d', now)
  redis.call('SET', KEYS[1], run .. ':' .. era)
end
for i = 3, #KEYS do
  redis.call('ZADD', KEYS[i], now + tonumber(ARGV[4]), holder)
  local last = redis.call('ZRANGE', KEYS[i], -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', KEYS[i], string.format('%d', tonumber(last[2])))
end
return {'held', era}
