-- Removes one entry.
-- ARGV, behind the uses: key
-- Returns {'done'} | {'again'}
local of = memory(1)
begin(of)
local key = ARGV[touched(of)]
local m = read(of, key)
if not m then
  return { 'again' }
end
forget(of, key, m)
return { 'done' }
