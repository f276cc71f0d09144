-- A dead message can be leased again, as if it had just been put in.
-- ARGV: id, messages at most, bytes at most
-- Returns {'done'} | {'again', 'unknown'} | {'again', 'messages' or 'bytes', how many there are}: it is full
promote()
local id = ARGV[1]
if not call('ZSCORE', DEAD, id) then
  return { 'again', 'unknown' }
end
local m = read(id)
local there, bytes = messages() - call('ZCARD', DEAD), tonumber(call('HGET', QUEUE, 'bytes') or '0')
if there + 1 > tonumber(ARGV[2]) then
  return { 'again', 'messages', int(there) }
end
if bytes + m[6] > tonumber(ARGV[3]) then
  return { 'again', 'bytes', int(bytes) }
end
call('ZREM', DEAD, id)
call('HINCRBY', QUEUE, 'dead_bytes', -m[6])
call('HINCRBY', QUEUE, 'bytes', m[6])
m[2], m[3], m[8], m[9], m[10] = number(), 0, now, nil, nil
write(id, m)
ready(id, m)
signal(1)
return { 'done' }
