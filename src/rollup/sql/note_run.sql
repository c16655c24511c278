-- What a run of the rollup $1 came to, which took $9 seconds; the latest $8 runs of each name are kept.
with noted as (
    insert into weir.rollup_runs (name, started_at, outcome, buckets, rows, frozen, error)
    values ($2, clock_timestamp() - make_interval(secs => $9), case when $7::text is null then 'done' else 'failed' end, $4, $5, $6, $7)
), pruned as (
    delete from weir.rollup_runs
     where name = $2
       and run_id <= (select run_id from weir.rollup_runs where name = $2 order by run_id desc offset $8 limit 1)
)
update weir.rollups
   set started_at = to_timestamp($3), error = $7,
       succeeded_at = case when $7::text is null then now() else succeeded_at end,
       failures = case when $7::text is null then 0 else failures + 1 end
 where rollup_id = $1
