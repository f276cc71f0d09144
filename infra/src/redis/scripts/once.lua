-- Does `body` once: a repeat of the same request gets the first answer, refusals too.
-- The last key is where the answer is kept; the last two arguments are what the request said (a digest) and for how long
-- its answer is kept, in ms. An answer whose first word is `again` is not kept: then nothing was done.
-- Returns what `body` returns, or {'once', 'other'} where another request has that key.
local kept = KEYS[#KEYS]
local said, kept_ms = ARGV[#ARGV - 1], ARGV[#ARGV]
KEYS[#KEYS] = nil
ARGV[#ARGV] = nil
ARGV[#ARGV] = nil
local had = redis.call('HMGET', kept, 'said', 'answer')
if had[1] then
  if had[1] ~= said then
    return {'once', 'other'}
  end
  return cmsgpack.unpack(had[2])
end
local answer = body()
if answer.err == nil and answer[1] ~= 'again' then
  redis.call('HSET', kept, 'said', said, 'answer', cmsgpack.pack(answer))
  redis.call('PEXPIRE', kept, kept_ms)
end
return answer
