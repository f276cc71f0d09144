-- A request that nobody waits for any more leaves the line; what it was granted goes to the next, unless its answer is
-- kept for a repeat.
-- KEYS: as the lock or semaphore says; with ARGV[2], one more: where the answer would be kept
-- ARGV: request, whether there is that key ('1' or '0'), call
-- Returns {'left'}
drop(ARGV[1], ARGV[3])
local token = granted_to(ARGV[1])
if token and (ARGV[2] == '0' or redis.call('EXISTS', KEYS[#KEYS]) == 0) then
  free(token)
  hand_over()
end
return {'left'}
