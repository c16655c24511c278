-- Each source: whether it may send, whether anything of it was ever taken, and how long ago the last.
select s.source, s.disabled_at is not null as is_disabled, s.created_at < now() - interval '1 day' as is_old,
       exists (select from weir.write_keys k where k.source = s.source and (k.expires_at is null or k.expires_at > now()))
         or exists (select from weir.webhook_secrets w where w.source = s.source and (w.expires_at is null or w.expires_at > now())) as has_key,
       exists (select from weir.promises p where p.source = s.source and p.accepted > 0) as is_used,
       exists (select from weir.write_keys k where k.source = s.source and k.kind = 'alias') as has_alias,
       extract(epoch from now() - (select max(p.updated_at) from weir.promises p where p.source = s.source))::float8 as silent_s
  from weir.sources s
 order by s.source
 limit 1000
