-- Takes a lease, or stands in line for it. The same request may ask again: it has its lease, or its place, once.
-- KEYS: as the lock or semaphore says
-- ARGV: request, bell ('-': hears nothing), owner, time to live in ms, how long to wait in ms (0: leave the line), permits,
--   call (another for each repeat of the request)
-- Returns {'granted', token, end, now} | {'held', owner, end} | {'total', permits}
--   | {'again', 'wait', now, when the next lease ends, how many wait before} | {'again', 'full'}
local id, bell, owner, ttl, wait = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local token, ends = granted_to(id)
if token then
  return {'granted', token, text(ends), text(now)}
end
local other = admit(ARGV[6])
if other then
  return {'total', other}
end
-- A lease may have run out: those who came before are first.
hand_over()
token, ends = granted_to(id)
if not token and room() then
  token, ends = next_token(), now + ttl
  grant(token, ends, owner, id, bell)
end
if token then
  return {'granted', token, text(ends), text(now)}
end
local next = soonest()
if wait == 0 then
  drop(id, ARGV[7])
  return {'held', next.owner, text(next.ends)}
end
if redis.call('HEXISTS', waiters, id) == 0 then
  if redis.call('LLEN', queue) >= MOST_WAITERS and alive(true) >= MOST_WAITERS then
    return {'again', 'full'}
  end
  redis.call('RPUSH', queue, id)
  lines_up(true)
end
redis.call('HSET', waiters, id, bell .. ' ' .. ARGV[4] .. ' ' .. text(now + wait) .. ' ' .. ARGV[7] .. ' ' .. owner)
-- They outlive the longest wait by a minute.
for _, key in ipairs({queue, waiters}) do
  if redis.call('PTTL', key) < wait + 60000 then
    redis.call('PEXPIRE', key, text(wait + 60000))
  end
end
return {'again', 'wait', text(now), text(next.ends), text(redis.call('LPOS', queue, id))}
