-- Where the stream of a range ends and begins.
-- KEYS: open, era, changes, trimmed
-- Returns {'open', era, last place, place up to which it was trimmed} | {'closed'}
local _, era = string.match(redis.call('GET', KEYS[2]) or '', '^(%x+):(%d+)$')
if not era or redis.call('EXISTS', KEYS[1]) == 0 then
  return {'closed'}
end
local last = '0-0'
if redis.call('EXISTS', KEYS[3]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[3])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = info[i + 1]
    end
  end
end
return {'open', era, last, redis.call('GET', KEYS[4]) or '0-0'}
