-- Removes all entries; what was counted stays.
-- Returns {'done'}
local of = memory(1)
touched(of)
call('UNLINK', of.meta, of.values, of.used, of.written, of.expiry, of.tags)
call('HDEL', of.counters, 'bytes')
return { 'done' }
