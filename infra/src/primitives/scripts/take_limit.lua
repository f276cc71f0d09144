-- Takes from a token bucket, all or none. Its level is in billionths of a token, time in whole µs, the rate in
-- thousandths of a token per second: a refill is then a whole number, and nothing is rounded.
-- KEYS: the limit (hash: level, at)
-- ARGV: take, rate, burst
-- Returns {'1' or '0' for taken, ms until as many are there, whole tokens left}
local BILLION = 1000000000
local take, rate, burst = ARGV[1] * BILLION, tonumber(ARGV[2]), ARGV[3] * BILLION
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local had = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(had[1] or burst), tonumber(had[2] or now)
-- A clock that was set back gives nothing. What is beyond 2^53 is inexact, and far beyond any burst (10^15).
level = math.min(burst, level + math.max(0, now - at) * rate)
local missing = take - level
if missing <= 0 then
  level = level - take
end
redis.call('HSET', KEYS[1], 'level', string.format('%.0f', level), 'at', string.format('%.0f', now))
-- Once it would be full it need not be known.
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((burst - level) / rate / 1000) + 1))
return {missing <= 0 and '1' or '0', string.format('%.0f', math.max(0, math.ceil(missing / rate / 1000))),
  string.format('%.0f', math.floor(level / BILLION))}
