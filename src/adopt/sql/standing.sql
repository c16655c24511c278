-- How far the ledger is with these segments, and what became of their events.
select l.segment_id, l.applied_to, l.applied_crc,
       coalesce(sum(s.accepted), 0)::bigint    as accepted,
       coalesce(sum(s.stored), 0)::bigint      as stored,
       coalesce(sum(s.duplicate), 0)::bigint   as duplicate,
       coalesce(sum(s.quarantined), 0)::bigint as quarantined
  from weir.ledger l
  left join weir.ledger_sources s using (segment_id)
 where l.segment_id = any ($1)
 group by l.segment_id
