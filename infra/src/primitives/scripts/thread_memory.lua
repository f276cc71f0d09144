-- Copies entries of one memory into another: all of them, or none. The copies end when the originals do.
-- KEYS: those of the memory that they are in, then those of the other one
-- ARGV, behind the uses of the first: whose it is, entries at most, bytes at most, keys
-- Returns {'done', how many} | {'again', 'unknown', which key, from 0} | {'again', 'large'}
local from, to = memory(1), memory(8)
begin(from)
begin(to)
local at = touched(from)
local whose, entries, bytes, weight = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), 0
for i = at + 3, #ARGV do
  local m = read(from, ARGV[i])
  if not m then
    return { 'again', 'unknown', int(i - at - 3) }
  end
  weight = weight + m[4]
end
local keys = #ARGV - at - 2
if keys > entries or weight > bytes then
  return { 'again', 'large' }
end
for i = at + 3, #ARGV do
  local key, m = ARGV[i], read(from, ARGV[i])
  put(to, key, call('HGET', from.values, key), { now, now, m[3], 0, 0, m[6], whose, key, now }, entries, bytes)
end
finish(to)
return { 'done', int(keys) }
