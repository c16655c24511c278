select r.rollup_id, r.name, r.kind, r.state, r.is_defined, r.hash, r.body, r.bucket, r.timezone,
       extract(epoch from r.look_back)::bigint as look_back_s, extract(epoch from r.look_ahead)::bigint as look_ahead_s,
       r.unique_columns, r.columns, r.every, r.keep, r.description, r.reads_events, r.upstream, r.is_packed,
       extract(epoch from r.started_at)::bigint as started_s, extract(epoch from r.succeeded_at)::bigint as succeeded_s,
       r.failures, r.error,
       coalesce(d.buckets, 0) as dirty, coalesce(d.fill, 0) as fill,
       coalesce(extract(epoch from now() - d.noted_at), 0)::double precision as lag_s,
       extract(epoch from now())::bigint as now_s
  from weir.rollups r
  left join (select rollup_id, count(distinct bucket) as buckets, count(distinct bucket) filter (where is_fill) as fill,
                    min(noted_at) filter (where not is_fill) as noted_at
               from weir.rollup_dirty group by rollup_id) d using (rollup_id)
 order by r.rollup_id
