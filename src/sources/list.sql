select s.source, s.origins, s.disabled_at is not null as disabled,
       coalesce(array_agg(k.label || coalesce(' until ' || to_char(k.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', '')
                          order by k.created_at)
                filter (where k.label is not null and (k.expires_at is null or k.expires_at > now())), '{}') as keys
  from weir.sources s
  left join (select source, kind || ' ' || hint || case when kind = 'alias' then '' else '...' end as label, created_at, expires_at
               from weir.write_keys
              union all
             select source, 'webhooks of ' || service, created_at, expires_at
               from weir.webhook_secrets) k using (source)
 group by s.source
 order by s.source
