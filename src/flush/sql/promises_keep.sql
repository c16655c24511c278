-- Where the commit is the promise, the promise is written with it.
insert into weir.promises as known (node, segment_id, source, accepted, pending)
select l.node, s.segment_id, s.source, s.accepted, 0
  from weir.ledger_sources s
  join weir.ledger l using (segment_id)
 where s.segment_id = $1
on conflict (segment_id, source) do update
   set accepted = greatest(known.accepted, excluded.accepted), updated_at = now()
