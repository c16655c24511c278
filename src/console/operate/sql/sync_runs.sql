-- The latest $2 runs of the source $1; the end of what was said with the last one only.
select to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as started_at, outcome, rows, rejected,
       extract(epoch from coalesce(finished_at, seen_at) - started_at)::double precision * 1000 as ms, coalesce(error, '') as error,
       case when row_number() over (order by run_id desc) = 1 then right(log, $3) end as log
  from sync.runs
 where source = $1
 order by run_id desc
 limit $2
