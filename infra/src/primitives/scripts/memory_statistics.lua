-- What a memory is like.
-- Returns {entries, bytes, evicted, hits, misses}
local of = memory(1)
begin(of)
touched(of)
local counters = call('HMGET', of.counters, 'bytes', 'evicted', 'hits', 'misses')
return { int(call('HLEN', of.meta)), counters[1] or '0', counters[2] or '0', counters[3] or '0', counters[4] or '0' }
