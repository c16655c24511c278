select s.source, sum(s.accepted)::bigint as accepted
  from weir.ledger_sources s
  join weir.ledger l using (segment_id)
 where l.node = $1
   and l.segment_id <> all ($2::uuid[])
 group by s.source
