-- The message is not done: it is delivered once more, after a delay, or it is dead.
-- ARGV: id, receipt, delay ms, reason
-- Returns {'done', 'ready' or 'delayed' or 'dead'} | {'fenced', why}
local id, receipt = ARGV[1], ARGV[2]
local m, why = held(id, receipt)
if not m then
  for _, where in ipairs({ 'ready', 'delayed', 'dead' }) do
    if was_settled(where, id, receipt) then
      return { 'done', where }
    end
  end
  return { 'fenced', why }
end
call('ZREM', LEASED, id)
local where = give_back(id, m, tonumber(ARGV[3]), ARGV[4])
settled(where, id, receipt)
forget_settled()
signal(where == 'ready' and 1 or 0)
return { 'done', where }
