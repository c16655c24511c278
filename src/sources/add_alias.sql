insert into weir.write_keys (key_hash, source, kind, hint) values ($1, $2, 'alias', $3) on conflict do nothing
