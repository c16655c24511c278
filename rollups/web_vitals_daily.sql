-- kind: incremental
-- every: 5m
-- bucket: day
-- description: Core Web Vitals of each page in each day, by device: what three of four views were better than.
with measured as (
    select bucket, source, host, path, device,
           -- Whatever else a client says is none.
           case jsonb_typeof(properties -> 'lcp')  when 'number' then (properties -> 'lcp')::numeric  end as lcp,
           case jsonb_typeof(properties -> 'inp')  when 'number' then (properties -> 'inp')::numeric  end as inp,
           case jsonb_typeof(properties -> 'cls')  when 'number' then (properties -> 'cls')::numeric  end as cls,
           case jsonb_typeof(properties -> 'fcp')  when 'number' then (properties -> 'fcp')::numeric  end as fcp,
           case jsonb_typeof(properties -> 'ttfb') when 'number' then (properties -> 'ttfb')::numeric end as ttfb
      from events
     where kind = 'web_vitals' and not is_bot
)
select bucket, source, host, path, device,
       count(*)                                            as views,
       percentile_disc(0.75) within group (order by lcp)   as lcp_p75_ms,
       percentile_disc(0.75) within group (order by inp)   as inp_p75_ms,
       percentile_disc(0.75) within group (order by cls)   as cls_p75,
       percentile_disc(0.75) within group (order by fcp)   as fcp_p75_ms,
       percentile_disc(0.75) within group (order by ttfb)  as ttfb_p75_ms
  from measured
 group by bucket, source, host, path, device;
