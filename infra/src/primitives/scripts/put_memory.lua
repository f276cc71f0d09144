-- Writes one entry.
-- ARGV, behind the uses: key, value, time to live ms, entries at most, bytes at most, tags
-- Returns {'made' or 'changed', now, the entry} | {'again', 'large'}
local of = memory(1)
begin(of)
local at = touched(of)
local key, value, entries, bytes = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
local m, weight = { now, now, now + tonumber(ARGV[at + 2]), 0, 0, {} }, #key + #value
for i = at + 5, #ARGV do
  m[6][#m[6] + 1] = ARGV[i]
  weight = weight + #ARGV[i]
end
if weight > bytes then
  return { 'again', 'large' }
end
local had = put(of, key, value, m, entries, bytes)
finish(of)
local answer = { had and 'changed' or 'made', int(now) }
show(answer, key, m, value)
return answer
