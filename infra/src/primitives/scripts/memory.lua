-- What the scripts of an agent's memory share; it stands before each of them.
-- KEYS: counters, meta, values, used, written, expiry, tags (see keys.rs); those of a second memory behind them
-- ARGV begins with: hits of a hot cache, how many keys they were on, these keys in the order of their last use
--
-- `used` is scored by a counter that grows with every use, so who goes first is exact, whatever the clock says.
local call = redis.call
local COUNTERS_MS = 2592000000 -- 30 days

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function int(n)
  return string.format('%.0f', n)
end

local function memory(i)
  return {
    counters = KEYS[i], meta = KEYS[i + 1], values = KEYS[i + 2], used = KEYS[i + 3], written = KEYS[i + 4],
    expiry = KEYS[i + 5], tags = KEYS[i + 6],
  }
end

-- {created at, updated at, expires at, bytes, number of its writing, tags, and where it was copied from: agent, key, at}
local function read(of, key)
  local text = call('HGET', of.meta, key)
  return text and cmsgpack.unpack(text)
end

local function tagged(tag, written, key)
  return tag .. '\0' .. string.format('%016.0f', written) .. '\0' .. key
end

local function forget(of, key, m)
  call('HDEL', of.meta, key)
  call('HDEL', of.values, key)
  call('ZREM', of.used, key)
  call('ZREM', of.written, key)
  call('ZREM', of.expiry, key)
  for _, tag in ipairs(m[6]) do
    call('ZREM', of.tags, tagged(tag, m[5], key))
  end
  return call('HINCRBY', of.counters, 'bytes', -m[4])
end

local function use(of, key)
  call('ZADD', of.used, 'XX', call('HINCRBY', of.counters, 'uses', 1), key)
end

-- What has ended is gone.
local function begin(of)
  if call('EXISTS', of.meta) == 0 then
    call('HDEL', of.counters, 'bytes')
  end
  for _, key in ipairs(call('ZRANGEBYSCORE', of.expiry, '-inf', now)) do
    forget(of, key, read(of, key))
  end
end

-- What a hot cache was asked for was used. Where the rest of ARGV begins.
local function touched(of)
  local hits, keys = tonumber(ARGV[1]), tonumber(ARGV[2])
  for i = 3, 2 + keys do
    use(of, ARGV[i])
  end
  if hits > 0 then
    call('HINCRBY', of.counters, 'hits', hits)
    call('PEXPIRE', of.counters, COUNTERS_MS)
  end
  return 3 + keys
end

-- Writes an entry; `m` has its times, tags and origin. Then whatever is too much goes, the least recently used first.
local function put(of, key, value, m, entries, bytes)
  local had = read(of, key)
  if had then
    m[1] = had[1]
    forget(of, key, had)
  end
  m[4] = #key + #value
  for _, tag in ipairs(m[6]) do
    m[4] = m[4] + #tag
  end
  m[5] = call('HINCRBY', of.counters, 'writings', 1)
  call('HSET', of.meta, key, cmsgpack.pack(m))
  call('HSET', of.values, key, value)
  call('ZADD', of.used, call('HINCRBY', of.counters, 'uses', 1), key)
  call('ZADD', of.written, m[5], key)
  call('ZADD', of.expiry, int(m[3]), key)
  for _, tag in ipairs(m[6]) do
    call('ZADD', of.tags, 0, tagged(tag, m[5], key))
  end
  local weight = call('HINCRBY', of.counters, 'bytes', m[4])
  while weight > bytes or call('ZCARD', of.used) > entries do
    local oldest = call('ZRANGE', of.used, 0, 0)[1]
    weight = forget(of, oldest, read(of, oldest))
    call('HINCRBY', of.counters, 'evicted', 1)
  end
  return had
end

-- Nothing outlives the last of its entries.
local function finish(of)
  call('PEXPIRE', of.counters, COUNTERS_MS)
  local last = call('ZRANGE', of.expiry, -1, -1, 'WITHSCORES')[2]
  if last then
    for _, key in ipairs({ of.meta, of.values, of.used, of.written, of.expiry, of.tags }) do
      call('PEXPIREAT', key, int(tonumber(last) + 1000))
    end
  end
end

-- An entry in an answer: key, value, created at, updated at, expires at, origin (agent, key, at), number of tags, tags.
local function show(answer, key, m, value)
  local from = m[7] or ''
  for _, word in ipairs({ key, value, int(m[1]), int(m[2]), int(m[3]), from, m[8] or '', int(m[9] or 0), int(#m[6]) }) do
    answer[#answer + 1] = word
  end
  for _, tag in ipairs(m[6]) do
    answer[#answer + 1] = tag
  end
end
