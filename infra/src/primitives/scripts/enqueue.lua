-- Puts messages into a queue: all, or none if they do not fit.
-- ARGV: messages at most, bytes at most, ids remembered at most, for how long, then for each message:
--       id, whether the id is to be remembered, payload, delay ms, priority, max deliveries
-- Returns {'done', '0' or '1' for each: it is a duplicate} | {'again', 'messages' or 'bytes', how many there are}: it is full
local most, bytes_most, ids_most, ids_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local answer, new, fresh, bytes, remembered = { 'done' }, {}, {}, 0, false
for i = 5, #ARGV, 6 do
  local id = ARGV[i]
  local is_named, duplicate = ARGV[i + 1] == '1', fresh[id]
  if is_named and not duplicate then
    local seen = call('ZSCORE', SEEN, id)
    duplicate = seen and tonumber(seen) > now - ids_ms or call('HEXISTS', MESSAGES, 'm' .. id) == 1
  end
  answer[#answer + 1] = duplicate and '1' or '0'
  if not duplicate then
    fresh[id] = true
    new[#new + 1] = i
    bytes = bytes + #ARGV[i + 2]
    remembered = remembered or is_named
  end
end
if #new == 0 then
  return answer
end
local there = messages()
if there + #new > most then
  there = there - call('ZCARD', DEAD)
  if there + #new > most then
    return { 'again', 'messages', int(there) }
  end
end
local counters = call('HMGET', QUEUE, 'number', 'bytes')
local last, before = tonumber(counters[1] or '0'), tonumber(counters[2] or '0')
if before + bytes > bytes_most then
  return { 'again', 'bytes', int(before) }
end

call('HSET', QUEUE, 'number', int(last + #new), 'bytes', int(before + bytes))
if there == 0 then
  call('PERSIST', QUEUE)
end
local at_once = 0
for n, i in ipairs(new) do
  local id, payload, delay_ms = ARGV[i], ARGV[i + 2], tonumber(ARGV[i + 3])
  local m = { tonumber(ARGV[i + 4]), last + n, 0, tonumber(ARGV[i + 5]), now, #payload, false, now }
  call('HSET', MESSAGES, 'm' .. id, cmsgpack.pack(m), 'p' .. id, payload)
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
  call('ZREMRANGEBYSCORE', SEEN, '-inf', int(now - ids_ms))
  call('ZREMRANGEBYRANK', SEEN, 0, int(-ids_most - 1))
  call('PEXPIRE', SEEN, int(ids_ms))
end
count('e', #new)
signal(at_once)
return answer
