-- The latest $2 runs of the rollup $1.
select to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as started_at,
       extract(epoch from finished_at - started_at)::double precision * 1000 as ms, outcome, buckets, rows, frozen,
       coalesce(error, '') as error
  from weir.rollup_runs
 where name = $1
 order by run_id desc
 limit $2
