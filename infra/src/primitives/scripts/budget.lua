-- What the scripts of budgets know. What has run out returns first, in each of them.
-- KEYS: [1] the budget (hash: limit, spent, reserved), [2], [3] its operations,
--       [4] its reservations (hash: what is left of each), [5] their ends (zset, ms of Redis' time)
-- Amounts are at most 2^53-1, and so is what is spent and reserved together: Lua's numbers are exact.
local MOST_RESERVATIONS = 10000
local budget, open, over = KEYS[1], KEYS[4], KEYS[5]
local had = redis.call('HMGET', budget, 'limit', 'spent', 'reserved')
local limit, spent, reserved = tonumber(had[1] or '0'), tonumber(had[2] or '0'), tonumber(had[3] or '0')

local function remaining()
  return limit - spent - reserved
end
local function keep()
  redis.call('HSET', budget, 'spent', text(spent), 'reserved', text(reserved))
end
-- What was left of it.
local function close(id)
  local left = tonumber(redis.call('HGET', open, id) or '0')
  redis.call('HDEL', open, id)
  redis.call('ZREM', over, id)
  reserved = reserved - left
  return left
end
local ended = redis.call('ZRANGEBYSCORE', over, '-inf', text(now))
for _, id in ipairs(ended) do
  close(id)
end
if #ended > 0 then
  keep()
end
