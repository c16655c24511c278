-- Of what was promised, what has not arrived, by collector.
select promised.node, sum(asked.accepted - coalesce(arrived.accepted, 0))::bigint as events,
       to_char(max(promised.updated_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as heard_at
  from unnest($1::uuid[], $2::text[], $3::bigint[]) as asked (segment_id, source, accepted)
  join weir.promises promised using (segment_id, source)
  left join weir.ledger_sources arrived using (segment_id, source)
 where promised.pending > 0 and coalesce(arrived.accepted, 0) < asked.accepted
 group by promised.node
 order by promised.node
