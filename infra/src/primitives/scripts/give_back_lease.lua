-- Gives a lease back, to the first who waits; only its holder can.
-- KEYS: as the lock or semaphore says
-- ARGV: owner, token
-- Returns {'released'} | {'fenced'}
if not is_holder(ARGV[1], ARGV[2]) then
  return {'fenced'}
end
free(ARGV[2])
hand_over()
return {'released'}
