-- What the scripts of leases know of a semaphore. Nothing here decides who gets a permit.
-- KEYS: [1] the semaphore (hash: total, last token, `<token>` = '<since> <request> <bell> <owner>', `id:<request>` = token),
--       [2] its queue (list), [3] its waiters (hash), [4] its holders (zset: token by its end in ms)
-- The last token stays for an hour after the last lease, so that the next one is greater; after that the clock sees to it.
local KEPT_MS = 3600000
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)
local record, queue, waiters, leases = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local had = redis.call('HMGET', record, 'total', 'last')
local most, last = tonumber(had[1] or '0'), tonumber(had[2] or '0')

-- Numbers above 2^53 do not come; what is written never has an exponent.
local function text(number)
  return string.format('%.0f', number)
end
local function read(token)
  local since, by, bell, owner = string.match(redis.call('HGET', record, token) or '', '^(%d+) (%S+) (%S+) (.*)$')
  return {token = token, since = since, by = by, bell = bell, owner = owner,
    ends = tonumber(redis.call('ZSCORE', leases, token) or '0')}
end
local function free(token)
  local by = read(token).by
  redis.call('ZREM', leases, token)
  redis.call('HDEL', record, token)
  if by then
    redis.call('HDEL', record, 'id:' .. by)
  end
end
for _, token in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', text(now))) do
  free(token)
end
local out = redis.call('ZCARD', leases)

local function keep()
  local latest = redis.call('ZRANGE', leases, -1, -1, 'WITHSCORES')[2]
  local ends = latest and tonumber(latest) or now
  redis.call('PEXPIREAT', record, text(ends + KEPT_MS))
  redis.call('PEXPIREAT', leases, text(ends + KEPT_MS))
end
local function room()
  return redis.call('ZCARD', leases) < most
end
-- The token that a grant would have now.
local function next_token()
  return text(math.max(last + 1, now_us))
end
local function grant(token, ends, owner, id, bell)
  last = tonumber(token)
  redis.call('ZADD', leases, text(ends), token)
  redis.call('HSET', record, 'last', token, token, text(now) .. ' ' .. id .. ' ' .. bell .. ' ' .. owner, 'id:' .. id, token)
  keep()
end
-- The lease that this request was granted, if it still holds: token, end.
local function granted_to(id)
  local token = redis.call('HGET', record, 'id:' .. id)
  if token then
    return token, read(token).ends
  end
end
local function is_holder(owner, token)
  local lease = read(token)
  return lease.ends > now and lease.owner == owner
end
-- Returns whether the lease ends sooner now.
local function extend(token, ends)
  local sooner = ends < read(token).ends
  redis.call('ZADD', leases, text(ends), token)
  keep()
  return sooner
end
-- Whether anyone may stand in line: here the queue itself says so.
local line = true
local function lines_up()
end
-- All that hold now, the first granted first.
local function holders()
  local all = redis.call('ZRANGE', leases, 0, -1)
  table.sort(all, function(a, b) return tonumber(a) < tonumber(b) end)
  for i, token in ipairs(all) do
    all[i] = read(token)
  end
  return all
end
-- The lease that ends first.
local function soonest()
  return read(redis.call('ZRANGE', leases, 0, 0)[1] or '')
end
-- How many there are in all, as the caller says: nil, or how many there are while any is out or waited for.
local function admit(permits)
  if tonumber(permits) ~= most then
    if out > 0 or redis.call('EXISTS', queue) == 1 then
      return text(most)
    end
    most = tonumber(permits)
    redis.call('HSET', record, 'total', permits)
    keep()
  end
end
local function total()
  return text(most)
end
