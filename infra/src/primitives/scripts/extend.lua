-- The consumer keeps the message for longer, from now.
-- ARGV: id, receipt, visibility ms
-- Returns {'done', leased until} | {'fenced', why}
local id = ARGV[1]
local m, why = held(id, ARGV[2])
if not m then
  return { 'fenced', why }
end
local till = int(now + tonumber(ARGV[3]))
m[9] = tonumber(till)
write(id, m)
call('ZADD', LEASED, till, id)
signal(0)
return { 'done', till }
