-- Gives the next messages to a consumer for a while; or, where there is none, lets it wait its turn.
-- ARGV: messages at most, visibility ms, bytes of payload at most, what begins the receipts (drawn by the caller),
--       who waits (`<process> <n>`, or empty: nobody), its place in the line (0: behind all)
-- Returns {'items', now, id, receipt, delivery, payload, priority, enqueued at, leased until, ...}
--       | {'again', place, ms until it is to come by itself (-1: when it is woken)}
local limit, visibility_ms, bytes_most, drawn, who = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
promote()
local answer, bytes, taken = { 'items', int(now) }, 0, 0
local till = now + visibility_ms
local next, fields, payloads, written, held = call('ZPOPMIN', READY, limit), {}, {}, {}, {}
for i = 1, #next, 2 do
  fields[#fields + 1] = 'm' .. next[i]
end
local found = #next > 0 and call('HMGET', MESSAGES, unpack(fields)) or {}
for n = 1, #fields do
  local id, m = next[2 * n - 1], cmsgpack.unpack(found[n])
  bytes = bytes + m[6]
  if n > 1 and bytes > bytes_most then
    -- What is too much, and all behind it, has its place again.
    call('ZADD', READY, place(m), id)
  else
    taken = n
    m[3], m[9] = m[3] + 1, till
    m[7] = int(m[3]) .. '-' .. drawn .. '-' .. int(n)
    payloads[n] = 'p' .. id
    written[2 * n - 1], written[2 * n] = fields[n], cmsgpack.pack(m)
    held[2 * n - 1], held[2 * n] = int(till), id
    found[n] = m
  end
end
if taken > 0 then
  call('HSET', MESSAGES, unpack(written))
  call('ZADD', LEASED, unpack(held))
  payloads = call('HMGET', MESSAGES, unpack(payloads))
end
for n = 1, taken do
  local m = found[n]
  for _, word in ipairs({ next[2 * n - 1], m[7], int(m[3]), payloads[n], int(m[1]), int(m[5]), int(till) }) do
    answer[#answer + 1] = word
  end
end
if who ~= '' then
  call('ZREM', WAITERS, who)
  watches_no_more(who)
end
if taken > 0 then
  count('l', taken)
  signal_ready()
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
