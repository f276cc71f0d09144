-- A queue as it is now.
-- Returns {ready, leased, delayed, dead, dropped, bytes, age of the oldest ready or -1, waiters, enqueued, leased, acked}
--         the last three: in the last 60 s
promote()
local oldest
for level = 0, 9 do
  local id = call('ZRANGEBYSCORE', READY, int(level * LEVEL), '(' .. int((level + 1) * LEVEL), 'LIMIT', 0, 1)[1]
  local came = id and read(id)[8]
  if came and (not oldest or came < oldest) then
    oldest = came
  end
end
local sums, rates = { e = 0, l = 0, a = 0 }, call('HGETALL', RATES)
for i = 1, #rates, 2 do
  local what, second = string.sub(rates[i], 1, 1), tonumber(string.sub(rates[i], 2))
  if second > math.floor(now / 1000) - 60 then
    sums[what] = sums[what] + tonumber(rates[i + 1])
  end
end
local counters = call('HMGET', QUEUE, 'dropped', 'bytes')
local ready_now = call('ZCARD', READY)
signal_ready()
return {
  int(ready_now), int(call('ZCARD', LEASED)), int(call('ZCARD', DELAYED)), int(call('ZCARD', DEAD)),
  counters[1] or '0', counters[2] or '0', oldest and int(math.max(0, now - oldest)) or '-1', int(call('ZCARD', WAITERS)),
  int(sums.e), int(sums.l), int(sums.a),
}
