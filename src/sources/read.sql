select k.key_hash, k.kind, s.source, s.origins
  from weir.write_keys k
  join weir.sources s using (source)
 where s.disabled_at is null
   and (k.expires_at is null or k.expires_at > now())
