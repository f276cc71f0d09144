-- A consumer waits no longer: what it was woken for, or watched over, is another's.
-- ARGV: who
-- Returns {'done'}
call('ZREM', WAITERS, ARGV[1])
watches_no_more(ARGV[1])
signal(math.min(1, call('ZCARD', READY)))
return { 'done' }
