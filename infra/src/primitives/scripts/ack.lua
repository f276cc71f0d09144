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
remove(id)
if call('HINCRBY', QUEUE, 'bytes', -m[6]) == 0 and call('HLEN', MESSAGES) == 0 then
  call('PEXPIRE', QUEUE, EMPTY_MS)
end
settled('a', id, receipt)
if count('a', 1) then
  forget_settled()
end
return { 'done' }
