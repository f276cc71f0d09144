-- Who waits for a lease, first come first served: the queue has requests, the hash what each asked.
local MOST_WAITERS = 1000
-- Returns bell, time to live, limit of the wait (ms of Redis' time), owner, the call that stands there; nothing if it is gone.
local function waiter(id)
  local bell, ttl, limit, call, owner = string.match(redis.call('HGET', waiters, id) or '', '^(%S+) (%d+) (%d+) (%S+) (.*)$')
  return bell, tonumber(ttl), tonumber(limit), owner, call
end
-- Whether anyone hears it: 0 means that the process is gone.
local function tell(bell, id, words)
  return bell and bell ~= '-' and redis.call('PUBLISH', bell, id .. ' ' .. words) > 0
end
-- Leaves the line, unless a repeat of the request stands there by now.
local function drop(id, call)
  local _, _, _, _, stands = waiter(id)
  if stands == call then
    redis.call('HDEL', waiters, id)
    redis.call('LREM', queue, 1, id)
  end
end
-- Tells the first who lives when the next lease ends; who is gone leaves the queue.
local function tell_first()
  while true do
    local id = redis.call('LINDEX', queue, 0)
    if not id then
      return
    end
    local bell, _, limit = waiter(id)
    if bell and limit > now and tell(bell, id, 'ends ' .. text(soonest().ends - now)) then
      return
    end
    redis.call('LPOP', queue)
    redis.call('HDEL', waiters, id)
  end
end
-- Gives what is free to the first who live.
local function hand_over()
  local gave = false
  while line and room() do
    local id = redis.call('LPOP', queue)
    if not id then
      lines_up(false)
      break
    end
    local bell, ttl, limit, owner = waiter(id)
    redis.call('HDEL', waiters, id)
    if bell and limit > now then
      local token = next_token()
      if tell(bell, id, 'granted ' .. token .. ' ' .. text(now + ttl)) then
        grant(token, now + ttl, owner, id, bell)
        gave = true
      end
    end
  end
  if gave then
    tell_first()
  end
end
-- Those who wait and live; with `sweep` the others leave.
local function alive(sweep)
  local count, known = 0, {}
  for _, id in ipairs(redis.call('LRANGE', queue, 0, -1)) do
    local bell, _, limit = waiter(id)
    if bell and known[bell] == nil then
      known[bell] = redis.call('PUBSUB', 'NUMSUB', bell)[2] > 0
    end
    if bell and limit > now and known[bell] then
      count = count + 1
    elseif sweep then
      redis.call('LREM', queue, 1, id)
      redis.call('HDEL', waiters, id)
    end
  end
  return count
end
