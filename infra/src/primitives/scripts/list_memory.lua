-- One page of entries, newest written first; this uses none of them.
-- ARGV, behind the uses: entries at most, bytes at most, written before which number ('+inf': all), prefix, tag or ''
-- Returns {number of the last one's writing, or '' where the page is the last, the entries}
local of = memory(1)
begin(of)
local at = touched(of)
local limit, bytes_most, before, prefix, tag = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]

-- The keys written next before a number, and their numbers.
local function older(number)
  local keys = {}
  if tag == '' then
    local page = call('ZREVRANGEBYSCORE', of.written, number == '+inf' and number or '(' .. number, '-inf', 'WITHSCORES', 'LIMIT', 0, 100)
    for i = 1, #page, 2 do
      keys[#keys + 1] = { page[i], int(tonumber(page[i + 1])) }
    end
    return keys
  end
  local behind = '(' .. tag .. (number == '+inf' and '\1' or '\0' .. string.format('%016.0f', tonumber(number)))
  for _, line in ipairs(call('ZREVRANGEBYLEX', of.tags, behind, '[' .. tag .. '\0', 'LIMIT', 0, 100)) do
    local written = string.sub(line, #tag + 2, #tag + 17)
    keys[#keys + 1] = { string.sub(line, #tag + 19), int(tonumber(written)) }
  end
  return keys
end

local answer, shown, bytes, last = { '' }, 0, 0, before
while true do
  local page = older(last)
  for _, found in ipairs(page) do
    local key = found[1]
    if string.sub(key, 1, #prefix) == prefix then
      local m = read(of, key)
      bytes = bytes + m[4]
      if shown == limit or (shown > 0 and bytes > bytes_most) then
        answer[1] = last
        return answer
      end
      show(answer, key, m, call('HGET', of.values, key))
      shown = shown + 1
    end
    last = found[2]
  end
  if #page < 100 then
    return answer
  end
end
