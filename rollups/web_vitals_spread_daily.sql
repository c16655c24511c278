-- kind: incremental
-- every: 5m
-- bucket: day
-- unique: bucket, source, metric, value
-- description: How often each value of a Core Web Vital was measured in each day: what percentiles of any days are made of.
--
-- Values are rounded up, to 10 ms or 0.01, so that none crosses one of Google's thresholds; above a minute, or 10, they are that.
with measured as (
    select e.bucket, e.source, m.metric, m.value, m.step, m.most
      from events e,
           lateral (values ('lcp', properties -> 'lcp', 10, 60000), ('inp', properties -> 'inp', 10, 60000),
                           ('cls', properties -> 'cls', 0.01, 10), ('fcp', properties -> 'fcp', 10, 60000),
                           ('ttfb', properties -> 'ttfb', 10, 60000)) as m (metric, value, step, most)
     where e.kind = 'web_vitals' and not e.is_bot and jsonb_typeof(m.value) = 'number'
), rounded as (
    select bucket, source, metric, ceil(least(greatest(value::numeric, 0), most) / step) * step as value
      from measured
)
select bucket, source, metric, value, count(*) as views
  from rounded
 group by bucket, source, metric, value;
