insert into weir.collectors (node, source, accepted, pending)
select $1, * from unnest($2::text[], $3::bigint[], $4::bigint[])
on conflict (node, source) do update
   set accepted = excluded.accepted, pending = excluded.pending, updated_at = now()
