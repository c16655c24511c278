-- The last run of each rollup.
select distinct on (name) name, extract(epoch from finished_at - started_at)::double precision * 1000 as ms, rows
  from weir.rollup_runs
 where outcome = 'done'
 order by name, run_id desc
