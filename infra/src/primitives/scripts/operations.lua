-- What was answered to an operation id is kept for 24 h, in the same script as its effect.
-- KEYS: [1] what it is done to, [2] its operations (hash), [3] their order (list: '<end> <id>')
-- ARGV: operation id ('' for none), how many are remembered at most
local KEPT_MS = 24 * 3600 * 1000
-- Of those that are over so many go with each new one: two are enough to keep up.
local SWEEP = 8
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local operation, most = ARGV[1], tonumber(ARGV[2])
local function text(number)
  return string.format('%.0f', number)
end
local function ends(id)
  return tonumber(string.match(redis.call('HGET', KEYS[2], id) or '', '^%d+') or '0')
end
-- What it was answered, if it was asked before.
local function before()
  local kept = operation ~= '' and redis.call('HGET', KEYS[2], operation)
  if kept and ends(operation) > now then
    local words = {}
    for word in string.gmatch(string.match(kept, '^%d+ (.*)$'), '%S+') do
      words[#words + 1] = word
    end
    return words
  end
end
-- Whether one more can be remembered; those that are over go first.
local function is_full()
  if operation == '' then
    return false
  end
  for _ = 1, SWEEP do
    local over, oldest = string.match(redis.call('LINDEX', KEYS[3], 0) or '', '^(%d+) (.*)$')
    if not oldest or tonumber(over) > now then
      break
    end
    redis.call('LPOP', KEYS[3])
    -- It may have been used again since.
    if ends(oldest) <= now then
      redis.call('HDEL', KEYS[2], oldest)
    end
  end
  return redis.call('LLEN', KEYS[3]) >= most
end
-- Keeps an answer; its words have no spaces.
local function answer(words)
  if operation ~= '' then
    local over = text(now + KEPT_MS) .. ' '
    redis.call('HSET', KEYS[2], operation, over .. table.concat(words, ' '))
    redis.call('RPUSH', KEYS[3], over .. operation)
    redis.call('PEXPIRE', KEYS[2], KEPT_MS)
    redis.call('PEXPIRE', KEYS[3], KEPT_MS)
  end
  return words
end
