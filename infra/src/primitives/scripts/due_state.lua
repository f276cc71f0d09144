-- Names entries of one range whose time is over.
-- KEYS: open, expiring
-- ARGV: how many at most
-- Returns {'shut'} | {'due', <workspace>/<key>...}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'shut'} end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local due = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
table.insert(due, 1, 'due')
return due
