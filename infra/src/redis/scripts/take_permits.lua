-- Takes one of each of these permits for a holder: all, or none.
-- KEYS: era, guard, then one sorted set for each permit: holder -> when it ends, in ms of Redis' time
-- ARGV: shard, epoch of the asking owner, holder, kept for ms, grace ms, guard kept ms, then how many there are of each permit
-- Returns {'granted', era, out of each ...} | {'refused', era, which (from 0), out}
--       | {'young', era, ms until it is not} | {'fenced', newest}
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
redis.call('PEXPIRE', KEYS[2], ARGV[6])

-- Data that have just begun, or been read from an old file, may lack what is held: who holds says so first.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known, era = string.match(redis.call('GET', KEYS[1]) or '', '^(%x+):(%d+)$')
if known ~= run then
  era = string.format('%d', now)
  redis.call('SET', KEYS[1], run .. ':' .. era)
end
local young = tonumber(era) + tonumber(ARGV[5]) - now
if young > 0 then
  return {'young', era, string.format('%d', young)}
end

for i = 3, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  local out = redis.call('ZCARD', KEYS[i])
  if out >= tonumber(ARGV[4 + i]) and not redis.call('ZSCORE', KEYS[i], holder) then
    return {'refused', era, tostring(i - 3), tostring(out)}
  end
end
local answer = {'granted', era}
for i = 3, #KEYS do
  -- What is held already is held for no shorter.
  redis.call('ZADD', KEYS[i], 'GT', now + tonumber(ARGV[4]), holder)
  local last = redis.call('ZRANGE', KEYS[i], -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', KEYS[i], string.format('%d', tonumber(last[2])))
  answer[i] = tostring(redis.call('ZCARD', KEYS[i]))
end
return answer
