-- Makes a lease last from now; only its holder can.
-- KEYS: as the lock or semaphore says
-- ARGV: owner, token, time to live in ms
-- Returns {'renewed', end} | {'fenced'}
if not is_holder(ARGV[1], ARGV[2]) then
  return {'fenced'}
end
local ends = now + tonumber(ARGV[3])
if extend(ARGV[2], ends) then
  tell_first()
end
return {'renewed', text(ends)}
