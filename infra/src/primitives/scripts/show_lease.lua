-- Who holds it, and how many wait.
-- KEYS: as the lock or semaphore says
-- Returns {'held', total, waiters, now, then of each: token, owner, end, since} | {'none'}
local answer = {'held', total(), text(alive(false)), text(now)}
for _, lease in ipairs(holders()) do
  for _, word in ipairs({lease.token, lease.owner, text(lease.ends), lease.since or text(now)}) do
    answer[#answer + 1] = word
  end
end
return #answer > 4 and answer or {'none'}
