-- Says whether a range of shared state is served by this very Redis, and if so, that it still is.
-- A range that was opened by another process of Redis (it came back from its file, or a replica took over) is closed:
-- what it holds may be old.
-- KEYS: open, mirrored, era, relay, again
-- ARGV: how long it stays open from now, in ms; who asks
-- Returns {'open', mirrored, era, place from which to mirror again or ''} | {'closed', run_id}
--       | {'superseded'} where another relay has taken the range
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local open, era = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[3])
local opened_by, number = string.match(era or '', '^(%x+):(%d+)$')
if not open or opened_by ~= run then
  redis.call('DEL', KEYS[1])
  return {'closed', run}
end
if redis.call('GET', KEYS[4]) ~= ARGV[2] then
  return {'superseded'}
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {'open', redis.call('GET', KEYS[2]) or '0-0', number, redis.call('GETDEL', KEYS[5]) or ''}
