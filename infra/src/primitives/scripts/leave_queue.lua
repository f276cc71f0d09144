-- A consumer waits no longer: what it was woken for, or watched over, is another's.
-- ARGV: who
-- Returns {'done'}
call('ZREM', WAITERS, ARGV[1])
watches_no_more(ARGV[1])
signal_ready()
return { 'done' }
