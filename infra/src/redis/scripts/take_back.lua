-- Takes attempts back that still wait in an agent's inbox: whoever takes them from now on does not have them.
-- KEYS: inbox, guard, seen
-- ARGV: shard, epoch of the issuing owner, how far to look, attempt ids ('<task>#<n>')…
-- Returns {'fenced', newest} | {'taken', id…}
local newest = redis.call('HGET', KEYS[2], ARGV[1])
if newest and tonumber(ARGV[2]) < tonumber(newest) then
  return {'fenced', newest}
end
local wanted = {}
for i = 4, #ARGV do
  wanted[ARGV[i]] = true
end
local answer = {'taken'}
for _, body in ipairs(redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[3]) - 1)) do
  local read, message = pcall(cjson.decode, body)
  local data = read and type(message) == 'table' and message.data
  if type(data) == 'table' and message.type == 'synod.task.assigned' then
    local id = tostring(data.task_id) .. '#' .. string.format('%d', tonumber(data.attempt) or 0)
    if wanted[id] and redis.call('LREM', KEYS[1], 1, body) == 1 then
      -- Should nothing come of it, whoever owns the shard then hands it over once more.
      redis.call('ZREM', KEYS[3], id)
      answer[#answer + 1] = id
    end
  end
end
return answer
