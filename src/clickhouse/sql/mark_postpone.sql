-- Half a minute, after each further failure twice as long, and an hour at most.
update weir.clickhouse_marks
   set retry_at = clock_timestamp() + least(interval '30 seconds' * 2 ^ least(failures, 7), interval '1 hour'),
       failures = failures + 1,
       failing_since = coalesce(failing_since, now()),
       error = $2
 where id = $1
