-- The message is done.
-- ARGV: id, receipt
-- Returns {'done'} | {'fenced', why}
local id, receipt = ARGV[1], ARGV[2]
local m, why = held(id, receipt)
if not m then
  if was_settled('a', id, receipt) then
    return { 'done' }
  end
  return { 'fenced', why }
end
call('ZREM', LEASED, id)
call('HINCRBY', QUEUE, 'bytes', -m[6])
remove(id)
settled('a', id, receipt)
count('a', 1)
emptied()
return { 'done' }
