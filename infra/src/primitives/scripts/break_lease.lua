-- Takes leases from who holds them, and tells him if he listens; the first who wait get them.
-- KEYS: as the lock or semaphore says
-- ARGV: the token, or '' for all
-- Returns {'broken', total, waiters, now, then of each: token, owner, end, since} | {'none'}
local answer = {'broken', total(), text(alive(false)), text(now)}
for _, lease in ipairs(holders()) do
  if ARGV[1] == '' or ARGV[1] == lease.token then
    for _, word in ipairs({lease.token, lease.owner, text(lease.ends), lease.since or text(now)}) do
      answer[#answer + 1] = word
    end
    tell(lease.bell, lease.by, 'broken')
    free(lease.token)
  end
end
if #answer == 4 then
  return {'none'}
end
hand_over()
return answer
