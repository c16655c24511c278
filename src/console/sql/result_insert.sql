insert into console.results (result_id, run_id, role, query_id, version, title, sql, parameters, chart, started_at, duration_ms,
                             columns, row_count, byte_count, cut, rows, visibility, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9::text::jsonb, clock_timestamp() - $11 * interval '1 millisecond', $10,
        $12::text::jsonb, $13, $14, $15, $16, $17, now() + $18 * interval '1 day')
