-- Of segments whose files are gone nothing is pending; what was booked last may not have been told.
insert into weir.promises as known (node, segment_id, source, accepted, pending)
select l.node, s.segment_id, s.source, s.accepted, 0
  from weir.ledger_sources s
  join weir.ledger l using (segment_id)
  left join weir.promises p using (segment_id, source)
 where l.node = $1
   and l.segment_id <> all ($2::uuid[])
   and (p.accepted is null or p.accepted < s.accepted or p.pending <> 0)
on conflict (segment_id, source) do update
   set accepted = greatest(known.accepted, excluded.accepted), pending = 0, updated_at = now()
