-- Access: what people's roles take of the server. Who they are, and what they may, is in PostgreSQL's own catalog.
set local lock_timeout = '5s';

-- One row a person and day (UTC), kept also when the person is gone. Null: nobody measured it.
create table weir.usage_days (
    person       text             not null,
    day          date             not null,
    statements   bigint,                              -- as PostgreSQL counts them: those that clients sent
    exec_seconds double precision,
    rows         bigint,                              -- that they returned, or changed
    blocks_read  bigint,                              -- from the disk, or the system's cache
    blocks_hit   bigint,                              -- from PostgreSQL's own
    temp_bytes   bigint,                              -- written to temporary files
    schema_bytes bigint,                              -- of all that is the person's, as last measured
    seen_at      timestamptz,
    primary key (person, day)
);
comment on table weir.usage_days is 'What each person''s statements took, by day.';

-- pg_stat_statements as it was when it was last looked at, for what was added since. Only the newest round is kept.
create table weir.usage_statements (
    round        bigint           not null,
    userid       oid              not null,
    queryid      bigint           not null,
    calls        bigint           not null,
    exec_ms      double precision not null,
    rows         bigint           not null,
    blocks_read  bigint           not null,
    blocks_hit   bigint           not null,
    temp_blocks  bigint           not null,
    primary key (round, userid, queryid)
);
comment on table weir.usage_statements is 'The counters of people''s statements, as they were last seen.';

create view analytics.usage as
with weeks as (
    select person, date_trunc('week', day)::date as week, sum(statements)::bigint as statements,
           sum(exec_seconds) as exec_seconds, sum(rows)::bigint as rows, sum(blocks_read)::bigint as blocks_read,
           sum(blocks_hit)::bigint as blocks_hit, sum(temp_bytes)::bigint as temp_bytes,
           (array_agg(schema_bytes order by day desc) filter (where schema_bytes is not null))[1] as schema_bytes
      from weir.usage_days
     group by 1, 2
)
select w.person, w.week, w.statements, w.exec_seconds, w.rows, w.blocks_read, w.blocks_hit, w.temp_bytes, w.schema_bytes,
       w.statements - b.statements as statements_change, w.exec_seconds - b.exec_seconds as exec_seconds_change,
       w.temp_bytes - b.temp_bytes as temp_bytes_change, w.schema_bytes - b.schema_bytes as schema_bytes_change
  from weeks w
  left join weeks b on b.person = w.person and b.week = w.week - 7;
comment on view analytics.usage is 'What each person''s statements took, by week (from Monday, UTC), and how much more than in the week before.';
