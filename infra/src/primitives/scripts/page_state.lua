-- Names keys of one range that begin with a prefix, in order of their bytes.
-- KEYS: open, index
-- ARGV: prefix, key behind which it begins or '', keys at most
-- Returns {'shut'} | {'page', key...}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'shut'} end
local from = ARGV[2] ~= '' and '(' .. ARGV[2] or '[' .. ARGV[1]
-- No UTF-8 has the byte 255.
local keys = redis.call('ZRANGE', KEYS[2], from, '(' .. ARGV[1] .. '\255', 'BYLEX', 'LIMIT', 0, ARGV[3])
table.insert(keys, 1, 'page')
return keys
