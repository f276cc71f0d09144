-- Sets a budget's limit, or (with '') only looks.
-- KEYS: as the budget says
-- ARGV: '', 0, the limit or ''
-- Returns {'budget', limit, spent, reserved, remaining, reservations} | {'none'}
if ARGV[3] ~= '' then
  limit = tonumber(ARGV[3])
  redis.call('HSET', budget, 'limit', ARGV[3])
elseif not had[1] then
  return {'none'}
end
return {'budget', text(limit), text(spent), text(reserved), text(remaining()), text(redis.call('HLEN', open))}
