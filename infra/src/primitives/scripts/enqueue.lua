-- Puts messages into a queue: all, or none if they do not fit.
-- ARGV: messages at most, bytes at most, ids remembered at most, for how long, then for each message:
--       id, whether the id is to be remembered, payload, delay ms, priority, max deliveries
-- Returns {'done', '0' or '1' for each: it is a duplicate} | {'again', 'messages' or 'bytes', how many there are}: it is full
local most, bytes_most, ids_most, ids_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local answer, new, fresh, bytes, remembered = { 'done' }, {}, {}, 0, false
call('ZREMRANGEBYSCORE', SEEN, '-inf', now - ids_ms)
for i = 5, #ARGV, 6 do
  local id = ARGV[i]
  local duplicate = fresh[id] or call('HEXISTS', META, id) == 1 or call('ZSCORE', SEEN, id)
  answer[#answer + 1] = duplicate and '1' or '0'
  if not duplicate then
    fresh[id] = true
    new[#new + 1] = i
    bytes = bytes + #ARGV[i + 2]
    remembered = remembered or ARGV[i + 1] == '1'
  end
end
if #new == 0 then
  return answer
end
local there = call('HLEN', META) - call('ZCARD', DEAD)
if there + #new > most then
  return { 'again', 'messages', int(there) }
end
local before = tonumber(call('HGET', QUEUE, 'bytes') or '0')
if before + bytes > bytes_most then
  return { 'again', 'bytes', int(before) }
end

local last = call('HINCRBY', QUEUE, 'number', #new) - #new
call('HINCRBY', QUEUE, 'bytes', bytes)
call('PERSIST', QUEUE)
local at_once = 0
for n, i in ipairs(new) do
  local id, payload, delay_ms = ARGV[i], ARGV[i + 2], tonumber(ARGV[i + 3])
  local m = { tonumber(ARGV[i + 4]), last + n, 0, tonumber(ARGV[i + 5]), now, #payload, false, now }
  write(id, m)
  call('HSET', PAYLOADS, id, payload)
  if ARGV[i + 1] == '1' then
    call('ZADD', SEEN, now, id)
  end
  if delay_ms > 0 then
    call('ZADD', DELAYED, int(now + delay_ms), id)
  else
    ready(id, m)
    at_once = at_once + 1
  end
end
if remembered then
  call('ZREMRANGEBYRANK', SEEN, 0, -ids_most - 1)
  call('PEXPIRE', SEEN, int(ids_ms))
end
count('e', #new)
signal(at_once)
return answer
