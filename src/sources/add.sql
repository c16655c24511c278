insert into weir.sources (source, origins) values ($1, $2) on conflict do nothing
