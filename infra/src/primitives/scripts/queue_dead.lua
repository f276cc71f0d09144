-- One page of dead messages, in the order of their deaths.
-- ARGV: behind which death, messages at most, bytes of payload at most
-- Returns {which death the last one is, or '' where the page is the last, id, payload, deliveries, reason, priority,
--          enqueued at, dead at, ...}
promote()
local limit, bytes_most = tonumber(ARGV[2]), tonumber(ARGV[3])
local page = call('ZRANGEBYSCORE', DEAD, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
local answer, bytes = { '' }, 0
for i = 1, #page, 2 do
  local m = read(page[i])
  bytes = bytes + m[6]
  if i > 1 and (i > 2 * limit or bytes > bytes_most) then
    answer[1] = int(tonumber(page[i - 1]))
    break
  end
  for _, word in ipairs({ page[i], payload(page[i]), int(m[3]), m[9], int(m[1]), int(m[5]), int(m[10]) }) do
    answer[#answer + 1] = word
  end
end
signal_ready()
return answer
