insert into weir.rollups (name, kind, state, hash, body, bucket, timezone, look_back, look_ahead, unique_columns, columns, every, keep,
                          description, reads_events, upstream, is_packed)
values ($1, $2, 'building', $3, $4, $5, $6, make_interval(secs => $7), make_interval(secs => $8), $9, $10, $11, $12,
        $13, $14, $15, $16)
returning rollup_id
