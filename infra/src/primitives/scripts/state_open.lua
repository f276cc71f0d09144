-- Opens a range of shared state, after the mirror was read back into it.
-- A stream that this Redis had before goes on in a new era. Where nothing had to be read back (`intact`) the old eras are
-- beginnings of the new one, up to where the stream ends now; else nobody can say what came between.
-- KEYS: open, mirrored, era, eras, changes, relay
-- ARGV: run_id that was asked before reading back, a new era, intact ('1' or '0'), how long it stays open in ms,
--       how many earlier eras are kept, who opens it: from now on its relay
-- Returns {'open', mirrored, era, ''} | {'closed', run_id} where Redis is another one by now
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if run ~= ARGV[1] then
  return {'closed', run}
end

local function before(a, b)
  local a_ms, a_n = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_n = string.match(b, '^(%d+)-(%d+)$')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  return a_ms < b_ms or (a_ms == b_ms and tonumber(a_n) < tonumber(b_n))
end

local last = '0-0'
if redis.call('EXISTS', KEYS[5]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[5])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = info[i + 1]
    end
  end
end

local opened_by, era = string.match(redis.call('GET', KEYS[3]) or '', '^(%x+):(%d+)$')
if opened_by ~= run then
  local old = era
  era = ARGV[2]
  if old and ARGV[3] == '1' and redis.call('HLEN', KEYS[4]) < tonumber(ARGV[5]) then
    local earlier = redis.call('HGETALL', KEYS[4])
    for i = 1, #earlier, 2 do
      if before(last, earlier[i + 1]) then
        redis.call('HSET', KEYS[4], earlier[i], last)
      end
    end
    redis.call('HSET', KEYS[4], old, last)
  else
    redis.call('DEL', KEYS[4])
  end
  redis.call('SET', KEYS[3], run .. ':' .. era)
end
redis.call('SET', KEYS[6], ARGV[6])
redis.call('SET', KEYS[1], run, 'PX', ARGV[4])
return {'open', redis.call('GET', KEYS[2]) or '0-0', era, ''}
