-- Reads a page of a key's history, newest first.
-- KEYS: open, entry, history
-- ARGV: number before which it begins or '', lines at most, bytes at which it ends, history kept ms
-- Returns {'shut'} | {'none'}: nothing is known of the key
--       | {'page', '1' where there is more, then for each line its number and the text of `StoredPast`}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'shut'} end
local time = redis.call('TIME')
local oldest = string.format('%.0f', time[1] * 1000000 + time[2] - tonumber(ARGV[4]) * 1000)
local answer, bytes, most = {'page', '0'}, 0, tonumber(ARGV[2])
local from = ARGV[1] == '' and '+' or '(' .. ARGV[1] .. '-0'
while true do
  local lines = redis.call('XREVRANGE', KEYS[3], from, oldest, 'COUNT', 8)
  for _, kept in ipairs(lines) do
    if #answer >= 2 + 2 * most or bytes >= tonumber(ARGV[3]) then
      answer[2] = '1'
      return answer
    end
    bytes = bytes + #kept[2][2]
    answer[#answer + 1] = string.match(kept[1], '^%d+')
    answer[#answer + 1] = kept[2][2]
    from = '(' .. kept[1]
  end
  if #lines < 8 then break end
end
if #answer == 2 and ARGV[1] == '' and redis.call('HEXISTS', KEYS[2], 'e') == 0 then return {'none'} end
return answer
