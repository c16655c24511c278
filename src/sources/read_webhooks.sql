select w.source, w.service, w.secret
  from weir.webhook_secrets w
  join weir.sources s using (source)
 where s.disabled_at is null
   and (w.expires_at is null or w.expires_at > now())
 order by w.source, w.id desc
