-- What the scripts of leases know of a lock. Nothing here decides who gets it.
-- KEYS: [1] the lock (hash), [2] its queue (list), [3] its waiters (hash)
-- The token stays for an hour after the lease, so that the next one is greater; after that the clock sees to it.
local KEPT_MS = 3600000
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)
local record, queue, waiters = KEYS[1], KEYS[2], KEYS[3]
local had = redis.call('HMGET', record, 'token', 'until', 'owner', 'by', 'bell', 'since', 'line')
local held = {token = had[1], ends = tonumber(had[2] or '0'), owner = had[3], by = had[4], bell = had[5], since = had[6]}
-- Whether anyone may stand in line; without it nobody is looked for.
local line = had[7]

-- Numbers above 2^53 do not come; what is written never has an exponent.
local function text(number)
  return string.format('%.0f', number)
end
local function is_held()
  return held.ends > now
end
local function room()
  return not is_held()
end
-- The token that a grant would have now.
local function next_token()
  return text(math.max(tonumber(held.token or '0') + 1, now_us))
end
local function grant(token, ends, owner, id, bell)
  held = {token = token, ends = ends, owner = owner, by = id, bell = bell, since = text(now)}
  redis.call('HSET', record, 'owner', owner, 'token', token, 'until', text(ends), 'since', held.since, 'by', id, 'bell', bell)
  redis.call('PEXPIREAT', record, text(ends + KEPT_MS))
end
-- The lease that this request was granted, if it still holds: token, end.
local function granted_to(id)
  if is_held() and held.by == id then
    return held.token, held.ends
  end
end
local function is_holder(owner, token)
  return is_held() and held.owner == owner and held.token == token
end
-- Returns whether the lease ends sooner now.
local function extend(token, ends)
  local sooner = ends < held.ends
  held.ends = ends
  redis.call('HSET', record, 'until', text(ends))
  redis.call('PEXPIREAT', record, text(ends + KEPT_MS))
  return sooner
end
-- What is left of the holder says nothing any more; the key ends as it would have.
local function free(token)
  held = {token = token, ends = 0}
  redis.call('HSET', record, 'until', '0')
end
local function lines_up(some)
  line = some
  if some then
    redis.call('HSET', record, 'line', '1')
  else
    redis.call('HDEL', record, 'line')
  end
end
-- All that hold now, the first granted first.
local function holders()
  return is_held() and {held} or {}
end
-- The lease that ends first.
local function soonest()
  return held
end
-- How many there are in all, as the caller says: nil, or why it cannot be.
local function admit()
end
local function total()
  return '1'
end
