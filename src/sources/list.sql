select s.source, s.origins, s.disabled_at is not null as disabled,
       coalesce(array_agg(k.kind || ' ' || k.hint || case when k.kind = 'alias' then '' else '...' end ||
                          coalesce(' until ' || to_char(k.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', '')
                          order by k.created_at)
                filter (where k.expires_at is null or k.expires_at > now()), '{}') as keys
  from weir.sources s
  left join weir.write_keys k using (source)
 group by s.source
 order by s.source
