insert into weir.quarantine (source, event_id, sqlstate, message, event, tuple, row_version, segment_id)
values ($1, $2, $3, $4, $5, $6, $7, $8)
