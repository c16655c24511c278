insert into weir.promises as known (node, segment_id, source, accepted, pending)
select $1, * from unnest($2::uuid[], $3::text[], $4::bigint[], $5::bigint[])
on conflict (segment_id, source) do update
   set accepted = greatest(known.accepted, excluded.accepted), pending = excluded.pending, updated_at = now()
