-- What the database knows of a journal's owner: whether it was ever here, and how long ago it reported last.
select exists (select from weir.promises where node = $1) or exists (select from weir.ledger where node = $1) as is_known,
       (select extract(epoch from clock_timestamp() - max(updated_at))::float8 from weir.promises where node = $1) as silent_s,
       (select max(updated_at)::text from weir.promises where node = $1) as reported_at
