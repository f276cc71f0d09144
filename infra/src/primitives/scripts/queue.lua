-- What the scripts of a queue share; it stands before each of them.
-- KEYS: the queue, messages, ready, leased, delayed, dead, seen, settled, waiters, rates (see keys.rs)
--
-- A message's order is its priority, then its number in the queue: `ready` is scored by both in one figure below 2^53.
-- It keeps its number when it is delivered again, so it is handed out before what came later; one that was put in with a
-- delay gets its number when that is over. So a call that promotes only some of what is due leaves the rest in order:
-- they are promoted by the time at which they were due, and get higher numbers.
local QUEUE, MESSAGES, READY, LEASED, DELAYED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local DEAD, SEEN, SETTLED, WAITERS, RATES = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local call = redis.call

local PROMOTED = 256             -- of leases that have ended, and of delays, per call
local DEAD_MOST, DEAD_BYTES = 10000, 67108864
local DROPPED = 128              -- dead ones that one death makes room for at most; the next death goes on
local SETTLED_MOST, SETTLED_MS = 100000, 3600000
local EMPTY_MS = 90000000        -- the counters of an empty queue are kept for so long: longer than ids are
local LEVEL = 562949953421312    -- 2^49

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function int(n)
  return string.format('%.0f', n)
end

-- Of a message: {priority, number, deliveries, max deliveries, enqueued at, bytes, receipt, came at, leased until or
-- reason of its death, dead at}
local function read(id)
  local text = call('HGET', MESSAGES, 'm' .. id)
  return text and cmsgpack.unpack(text)
end

local function write(id, m)
  call('HSET', MESSAGES, 'm' .. id, cmsgpack.pack(m))
end

local function place(m)
  return int((9 - m[1]) * LEVEL + m[2])
end

local function ready(id, m)
  call('ZADD', READY, place(m), id)
end

local function payload(id)
  return call('HGET', MESSAGES, 'p' .. id)
end

-- Messages, the dead ones among them.
local function messages()
  return call('HLEN', MESSAGES) / 2
end

local function number()
  return call('HINCRBY', QUEUE, 'number', 1)
end

-- Counts per second of the last minute; whatever is older goes once a second. Whether this is the first in its second.
local function count(what, n)
  local second = math.floor(now / 1000)
  if call('HINCRBY', RATES, what .. int(second), n) == n then
    for _, field in ipairs(call('HKEYS', RATES)) do
      if tonumber(string.sub(field, 2)) < second - 60 then
        call('HDEL', RATES, field)
      end
    end
    call('PEXPIRE', RATES, 120000)
    return true
  end
end

-- Takes the message out of everything but `ready`, `leased`, `delayed` and `dead`.
local function remove(id)
  call('HDEL', MESSAGES, 'm' .. id, 'p' .. id)
end

local function bury(id, m, reason)
  m[7], m[9], m[10] = false, reason, now
  write(id, m)
  call('ZADD', DEAD, call('HINCRBY', QUEUE, 'deaths', 1), id)
  call('HINCRBY', QUEUE, 'bytes', -m[6])
  local bytes, dead = call('HINCRBY', QUEUE, 'dead_bytes', m[6]), call('ZCARD', DEAD)
  for _ = 1, DROPPED do
    if dead <= DEAD_MOST and (bytes <= DEAD_BYTES or dead == 1) then
      break
    end
    local oldest = call('ZPOPMIN', DEAD)[1]
    bytes = call('HINCRBY', QUEUE, 'dead_bytes', -read(oldest)[6])
    call('HINCRBY', QUEUE, 'dropped', 1)
    remove(oldest)
    dead = dead - 1
  end
end

-- A delivery has ended without an ack: the next one, or none.
local function give_back(id, m, delay_ms, reason)
  if m[3] >= m[4] then
    bury(id, m, reason)
    return 'dead'
  end
  m[7], m[9] = false, false
  write(id, m)
  if delay_ms > 0 then
    call('ZADD', DELAYED, int(now + delay_ms), id)
    return 'delayed'
  end
  ready(id, m)
  return 'ready'
end

-- Leases that have ended and delays that are over, those due longest first.
local function promote()
  for _, id in ipairs(call('ZRANGEBYSCORE', LEASED, '-inf', now, 'LIMIT', 0, PROMOTED)) do
    call('ZREM', LEASED, id)
    give_back(id, read(id), 0, 'visibility timeout')
  end
  for _, id in ipairs(call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, PROMOTED)) do
    call('ZREM', DELAYED, id)
    local m = read(id)
    if m[3] == 0 then
      m[2], m[8] = number(), now
      write(id, m)
    end
    ready(id, m)
  end
end

-- When the next thing is due, if anything is.
local function next_due()
  local due
  for _, key in ipairs({ LEASED, DELAYED }) do
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if first and (not due or tonumber(first) < due) then
      due = tonumber(first)
    end
  end
  return due
end

-- Says something to one who waits, called `<process> <n>`; whether its process is there to hear it.
local function tell(who, word)
  local process, n = string.match(who, '^(%S+) (%S+)$')
  return call('PUBLISH', 'synod:queues:wake:' .. process, n .. ' ' .. word) > 0
end

-- Wakes the first who waits and is there to hear it. Whether there was one.
local function wake()
  while true do
    local who = call('ZPOPMIN', WAITERS)[1]
    if not who or tell(who, 'now') then
      return who
    end
  end
end

-- One of those who wait knows when the next thing is due, and comes then. Whether it does.
local function watched(due)
  local at = tonumber(call('HGET', QUEUE, 'timer') or '-1')
  -- Who has not come in time is gone.
  return at >= 0 and at <= due and now <= at + 250
end

local function watches(who, due)
  call('HSET', QUEUE, 'timer', int(due), 'timer_of', who)
end

local function watches_no_more(who)
  if call('HGET', QUEUE, 'timer_of') == who then
    call('HDEL', QUEUE, 'timer', 'timer_of')
  end
end

-- Wakes one for each of `n` messages that have become ready; and if none has, lets one watch for what is due next.
local function signal(n)
  if call('EXISTS', WAITERS) == 0 then
    return
  end
  for _ = 1, n do
    if not wake() then
      return
    end
  end
  local due = n == 0 and next_due()
  while due and not watched(due) do
    local first = call('ZRANGE', WAITERS, 0, 0)[1]
    if not first then
      return
    elseif tell(first, int(math.max(0, due - now))) then
      watches(first, due)
    else
      call('ZREM', WAITERS, first)
    end
  end
end

-- Wakes one more where more can be leased: whoever comes next does the same.
local function signal_ready()
  if call('EXISTS', WAITERS) == 1 then
    signal(math.min(1, call('ZCARD', READY)))
  end
end

-- The message, if it is leased under this receipt now.
local function held(id, receipt)
  local m = read(id)
  if not m or m[7] ~= receipt then
    return nil, m and 'stale' or 'unknown'
  end
  if m[9] <= now then
    return nil, 'expired'
  end
  return m
end

-- Remembers that this receipt has settled its message in this way; the same once more is no error.
local function settled(how, id, receipt)
  call('ZADD', SETTLED, now, how .. receipt .. ' ' .. id)
end

local function forget_settled()
  call('ZREMRANGEBYRANK', SETTLED, 0, -SETTLED_MOST - 1)
  call('ZREMRANGEBYSCORE', SETTLED, '-inf', now - SETTLED_MS)
  call('PEXPIRE', SETTLED, SETTLED_MS)
end

local function was_settled(how, id, receipt)
  return call('ZSCORE', SETTLED, how .. receipt .. ' ' .. id)
end
