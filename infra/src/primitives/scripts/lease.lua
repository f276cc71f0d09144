-- Gives the next messages to a consumer for a while; or, where there is none, lets it wait its turn.
-- ARGV: messages at most, visibility ms, bytes of payload at most, what begins the receipts (drawn by the caller),
--       who waits (`<process> <n>`, or empty: nobody), its place in the line (0: behind all)
-- Returns {'items', now, id, receipt, delivery, payload, priority, enqueued at, leased until, ...}
--       | {'again', place, ms until it is to come by itself (-1: when it is woken)}
local limit, visibility_ms, bytes_most, drawn, who = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
promote()
local answer, bytes, taken = { 'items', int(now) }, 0, 0
local till = int(now + visibility_ms)
for n = 1, limit do
  local next = call('ZRANGE', READY, 0, 0, 'WITHSCORES')
  local id = next[1]
  if not id then
    break
  end
  local m = read(id)
  bytes = bytes + m[6]
  if n > 1 and bytes > bytes_most then
    break
  end
  call('ZREM', READY, id)
  m[3] = m[3] + 1
  m[7] = int(m[3]) .. '-' .. drawn .. '-' .. int(n)
  write(id, m)
  call('ZADD', LEASED, till, id)
  taken = n
  for _, word in ipairs({ id, m[7], int(m[3]), call('HGET', PAYLOADS, id), int(m[1]), int(m[5]), till }) do
    answer[#answer + 1] = word
  end
end
if who ~= '' then
  call('ZREM', WAITERS, who)
  watches_no_more(who)
end
if taken > 0 then
  count('l', taken)
  signal(math.min(1, call('ZCARD', READY)))
  return answer
end
if who == '' then
  return { 'again', '0', '-1' }
end

-- The place is the time of coming in µs: whoever was woken for nothing has his place again.
local place = ARGV[6]
if place == '0' then
  place = int(time[1] * 1000000 + time[2])
end
if call('ZCARD', WAITERS) >= 10000 then
  wake()
end
call('ZADD', WAITERS, place, who)
call('PEXPIRE', WAITERS, 120000)
local due = next_due()
if not due or watched(due) then
  return { 'again', place, '-1' }
end
watches(who, due)
return { 'again', place, int(math.max(0, due - now)) }
