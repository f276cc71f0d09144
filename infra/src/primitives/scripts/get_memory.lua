-- Reads one entry, which uses it.
-- ARGV, behind the uses: key
-- Returns {'found', now, the entry} | {'none', now}
local of = memory(1)
begin(of)
local key = ARGV[touched(of)]
local m = read(of, key)
call('HINCRBY', of.counters, m and 'hits' or 'misses', 1)
call('PEXPIRE', of.counters, COUNTERS_MS)
if not m then
  return { 'none', int(now) }
end
use(of, key)
local answer = { 'found', int(now) }
show(answer, key, m, call('HGET', of.values, key))
return answer
