-- The latest import of a file that begins like this one.
select i.import_id, i.read, i.refused, i.outside, l.applied_to, l.applied_crc
  from weir.imports i
  join weir.ledger l on l.segment_id = i.import_id
 where i.fingerprint = $1
 order by i.started_at desc
 limit 1
