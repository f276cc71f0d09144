-- Does operations on keys of one range, all of them or none: looks at every condition first, and then writes.
-- A write is the entry, a line of its history, a change in the range's stream and the counts, together.
--
-- KEYS: open, changes, expiring, index, counts, policies' version, then for each operation its entry and its history, then
--       locks
-- ARGV: workspace, by (JSON text), policies' version that was read ('-': asks no policy), lines of history kept, history
--       kept ms, most changes, then for each operation 11 words:
--       kind (put merge restore delete expire get), key, what stands before its first slash, value (JSON), metadata (JSON),
--       ttl ms or '', condition ('' none, '*' there, '!' not there, or a version, 0: not there), strategy,
--       version that a merge was made of ('' none), place of its lock in KEYS or 0, the lock's token
-- Returns {'done', place of the last change or '', then for each operation 6 words: what became of it (made changed gone
--          absent stands entry), version, created ms, updated ms, expires ms or '', text (the entry as stored; '' for
--          a plain put, whose caller knows it)}
--       | {'conflict', operation from 0, current version} | {'fenced', operation} | {'overflow', operation}
--       | {'again', 'shut'} | {'again', 'policies'} | {'again', 'full'} | {'again', 'moved', operation}
--
-- An entry is a hash: v the version, e the text of `Stored`, n the bytes of its value, x when it expires in ms or '',
-- c when it was made; l the last number given if that is not v. A tombstone has v (and l) alone. A history is a stream with
-- the number as its id: h is the text of `StoredPast`, m what an entry has besides. Values never leave their text.
local WORDS, LAST_VERSION = 11, 9007199254740991
local workspace, by, history_most, history_ms = ARGV[1], ARGV[2], ARGV[4], ARGV[5]

local function int(n) return string.format('%.0f', n) end

local gates = redis.call('MGET', KEYS[1], KEYS[6])
if not gates[1] then return {'again', 'shut'} end
if ARGV[3] ~= '-' and (gates[2] or '0') ~= ARGV[3] then return {'again', 'policies'} end
local time = redis.call('TIME')
local us = time[1] * 1000000 + time[2]
local ms = math.floor(us / 1000)
local now = int(ms)

local function count(op, what, by_how_much)
  return redis.call('HINCRBY', KEYS[5], what .. ':' .. op.group, by_how_much)
end

-- What stands against the operation; nil where nothing does.
local function look(op, i)
  local had = redis.call('HMGET', op.entry, 'v', 'l', 'x', 'n', 'c')
  op.known = had[1] and true or false
  op.last = math.max(tonumber(had[1] or '0'), tonumber(had[2] or '0'))
  op.expires, op.bytes, op.created = had[3] or '', tonumber(had[4] or '0'), had[5]
  op.alive = had[4] and true or false
  op.due = op.alive and op.expires ~= '' and tonumber(op.expires) <= ms
  op.current = (op.alive and not op.due) and had[1] or '0'
  if op.lock ~= '0' then
    local held = redis.call('HMGET', KEYS[tonumber(op.lock)], 'token', 'until')
    if held[1] ~= op.token or tonumber(held[2] or '0') <= ms then return {'fenced', int(i)} end
  end
  if op.kind == 'get' or op.kind == 'expire' then return nil end
  if op.made_of ~= '' and op.made_of ~= op.current then return {'again', 'moved', int(i)} end
  local fits, wants = true, op.condition
  if wants == '*' then
    fits = op.current ~= '0'
  elseif wants == '!' then
    fits = op.current == '0'
  elseif wants ~= '' then
    fits, op.base = wants == op.current, wants
  elseif op.kind == 'put' and op.strategy == 'first_write_wins' then
    fits = op.current == '0'
  end
  if not fits then
    count(op.alive and op or {group = '-'}, 'c', 1)
    local refused = wants == '*' or wants == '!' or op.strategy == 'reject'
      or (op.kind == 'delete' and op.strategy ~= 'last_write_wins')
      or (op.strategy == 'first_write_wins' and op.current == '0')
    if refused then return {'conflict', int(i), op.current} end
    op.conflict = true
  end
  local numbers = 1 + (op.due and 1 or 0) + (op.conflict and 1 or 0)
  if op.last + numbers > LAST_VERSION then return {'overflow', int(i)} end
  return nil
end

local operations, writes = {}, false
for i = 1, (#ARGV - 6) / WORDS do
  local at = 6 + (i - 1) * WORDS
  local op = {
    kind = ARGV[at + 1], key = ARGV[at + 2], group = ARGV[at + 3], value = ARGV[at + 4], metadata = ARGV[at + 5],
    ttl = ARGV[at + 6], condition = ARGV[at + 7], strategy = ARGV[at + 8], made_of = ARGV[at + 9],
    lock = ARGV[at + 10], token = ARGV[at + 11], entry = KEYS[5 + 2 * i], past = KEYS[6 + 2 * i],
  }
  operations[i] = op
  writes = writes or op.kind ~= 'get'
end
if writes and redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[6]) then return {'again', 'full'} end
for i, op in ipairs(operations) do
  local refused = look(op, i - 1)
  if refused then return refused end
end

local place = ''
local function change(op, what, text)
  place = redis.call('XADD', KEYS[2], '*', 'w', workspace, 'k', op.key, 'c', what, 'e', text)
end

-- The next number of a key: of a version, or of a line about what lost.
local function number(op)
  op.last = math.max(op.last + 1, us)
  return int(op.last)
end

local oldest = int(us - tonumber(history_ms) * 1000)
local function remember(op, id, text, more)
  redis.call('XADD', op.past, 'MAXLEN', history_most, id .. '-0', 'h', text, 'm', more)
  redis.call('XTRIM', op.past, 'MINID', oldest)
  redis.call('PEXPIRE', op.past, history_ms)
end

-- The text of `StoredPast`; everything in it but names and numbers is JSON text already.
local function line(p)
  return '{"version":' .. (p.version or 'null') .. ',"value":' .. (p.value or 'null') .. ',"op":"' .. p.op
    .. '","outcome":"' .. p.outcome .. '","strategy":' .. (p.strategy and '"' .. p.strategy .. '"' or 'null')
    .. ',"base_version":' .. (p.base or 'null') .. ',"updated_ms":' .. p.at .. ',"updated_by":' .. p.by
    .. ',"reason":' .. (p.reason and '"' .. p.reason .. '"' or 'null') .. '}'
end

-- Keeps as lost what is about to be overwritten by a write that did not know it.
local function overwritten(op)
  local text = redis.call('HGET', op.entry, 'e')
  local updated, whose = string.match(string.sub(text, 10 + op.bytes),
    '^,"version":%d+,"created_ms":%-?%d+,"updated_ms":(%-?%d+),"expires_ms":%w+,"updated_by":(".-"),"metadata":')
  local id = number(op)
  local lost = line({
    value = string.sub(text, 10, 9 + op.bytes), op = 'put', outcome = 'lost', strategy = op.strategy, base = op.current,
    at = updated, by = whose,
    reason = 'version ' .. op.current .. ' was overwritten by ' .. string.sub(by, 2, -2) .. ', who knew version ' .. op.base,
  })
  remember(op, id, lost, '')
  redis.call('HSET', op.entry, 'l', id)
  change(op, 'lost', lost)
  count(op, 'l', 1)
end

-- Keeps as lost a write that was not the first.
local function came_late(op)
  local id = number(op)
  local lost = line({
    value = op.value, op = 'put', outcome = 'lost', strategy = op.strategy, base = op.base, at = now, by = by,
    reason = 'version ' .. op.current .. ' was first',
  })
  remember(op, id, lost, '')
  redis.call('HSET', op.entry, 'l', id)
  change(op, 'lost', lost)
  count(op, 'l', 1)
end

-- A prefix without keys is no longer counted by itself.
local function fold(op)
  local names = {'w', 'd', 'x', 'c', 'l'}
  for i, name in ipairs(names) do names[i] = name .. ':' .. op.group end
  for i, sum in ipairs(redis.call('HMGET', KEYS[5], unpack(names))) do
    if sum then redis.call('HINCRBY', KEYS[5], string.sub(names[i], 1, 2) .. '-', sum) end
  end
  redis.call('HDEL', KEYS[5], 'k:' .. op.group, 'b:' .. op.group, unpack(names))
end

local function bury(op, kind, who)
  local version = number(op)
  redis.call('HDEL', op.entry, 'e', 'n', 'x', 'c', 'l')
  redis.call('HSET', op.entry, 'v', version)
  redis.call('PEXPIRE', op.entry, history_ms)
  redis.call('ZREM', KEYS[4], op.key)
  if op.expires ~= '' then redis.call('ZREM', KEYS[3], workspace .. '/' .. op.key) end
  local text = line({
    version = version, op = kind, outcome = 'written', at = now, by = who, base = op.base,
    strategy = op.conflict and op.strategy,
  })
  remember(op, version, text, '')
  change(op, 'gone', text)
  count(op, kind == 'expire' and 'x' or 'd', 1)
  count(op, 'b', -op.bytes)
  if count(op, 'k', -1) <= 0 then fold(op) end
  op.alive, op.known, op.bytes, op.expires, op.created = false, true, 0, '', nil
  return version
end

local function write(op)
  local made = not op.alive
  local version, created, expires = number(op), op.created or now, ''
  if op.ttl ~= '' then expires = int(ms + tonumber(op.ttl)) end
  local more = ',"created_ms":' .. created .. ',"updated_ms":' .. now .. ',"expires_ms":'
    .. (expires == '' and 'null' or expires) .. ',"updated_by":' .. by .. ',"metadata":' .. op.metadata .. '}'
  local text = '{"value":' .. op.value .. ',"version":' .. version .. more
  redis.call('HSET', op.entry, 'v', version, 'e', text, 'n', #op.value, 'x', expires, 'c', created)
  if made then
    if op.known then redis.call('PERSIST', op.entry) end
    redis.call('ZADD', KEYS[4], 0, op.key)
    count(op, 'k', 1)
  end
  if expires ~= '' then
    redis.call('ZADD', KEYS[3], expires, workspace .. '/' .. op.key)
  elseif op.expires ~= '' then
    redis.call('ZREM', KEYS[3], workspace .. '/' .. op.key)
  end
  remember(op, version, line({
    version = version, value = op.value, op = op.kind, outcome = 'written', at = now, by = by, base = op.base,
    strategy = (op.conflict or op.kind == 'merge') and op.strategy,
  }), more)
  change(op, 'written', text)
  count(op, 'w', 1)
  if op.bytes ~= #op.value then count(op, 'b', #op.value - op.bytes) end
  return made and 'made' or 'changed', version, created, now, expires, op.kind ~= 'put' and text or ''
end

local answer = {'done', ''}
local function say(...)
  for _, word in ipairs({...}) do answer[#answer + 1] = word end
end
for _, op in ipairs(operations) do
  if op.due and op.kind ~= 'get' then bury(op, 'expire', '"synod"') end
  if op.kind == 'get' then
    local found = redis.call('HMGET', op.entry, 'e', 'x')
    if found[1] and (found[2] == '' or tonumber(found[2]) > ms) then
      say('entry', '', '', '', '', found[1])
    else
      say('absent', '', '', '', '', '')
    end
  elseif op.kind == 'expire' then
    -- Where it is not due any more, or not at all, it does not stand among what is.
    if op.expires == '' then redis.call('ZREM', KEYS[3], workspace .. '/' .. op.key) end
    say('absent', '', '', '', '', '')
  elseif op.kind == 'delete' then
    if op.current == '0' then
      say('absent', '', '', '', '', '')
    else
      if op.conflict then overwritten(op) end
      say('gone', bury(op, 'delete', by), '', now, '', '')
    end
  elseif op.conflict and op.strategy == 'first_write_wins' then
    came_late(op)
    say('stands', op.current, '', '', '', redis.call('HGET', op.entry, 'e'))
  else
    if op.conflict and op.current ~= '0' then overwritten(op) end
    say(write(op))
  end
end
answer[2] = place
return answer
