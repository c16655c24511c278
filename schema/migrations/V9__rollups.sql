-- Rollups: what is kept of each definition, which of its buckets wait to be computed again, and what its runs came to.
set local lock_timeout = '5s';

create table weir.rollups (
    rollup_id      bigint   generated always as identity primary key,
    name           text     not null,                -- the relation in analytics, and the file
    kind           text     not null check (kind in ('view', 'materialized', 'incremental')),
    state          text     not null check (state in ('live', 'building')),  -- building: beside the live one, until it is filled
    is_defined     boolean  not null default true,   -- false: its file is gone
    hash           text     not null,                -- of all that makes its rows
    body           text     not null,                -- the SELECT
    bucket         text,
    timezone       text     not null,
    look_back      interval not null default '0',
    look_ahead     interval not null default '0',
    unique_columns text[]   not null default '{}',
    columns        text[]   not null default '{}',   -- in order
    every          text     not null default '',
    keep           text,                             -- an ISO 8601 duration
    description    text,
    reads_events   boolean  not null,
    upstream       text[]   not null default '{}',   -- rollups that it reads
    made_at        timestamptz not null default now(),
    started_at     timestamptz,                      -- of its last run
    succeeded_at   timestamptz,
    failures       integer  not null default 0,      -- in a row
    error          text,                             -- of the last run, if that failed
    unique (name, state)
);
comment on table weir.rollups is 'Each rollup: its definition as it was last read, and how its last run went.';

-- Buckets that a run has to compute again. Not unique on purpose: a mark must never wait for a run that is under way.
create table weir.rollup_dirty (
    rollup_id bigint      not null references weir.rollups on delete cascade,
    bucket    timestamptz not null,
    is_fill   boolean     not null default false,    -- of its first filling
    noted_at  timestamptz not null default now()
);
create index rollup_dirty_bucket on weir.rollup_dirty (rollup_id, bucket);
comment on table weir.rollup_dirty is 'Buckets whose events have changed since a rollup last computed them.';

create table weir.rollup_runs (
    run_id      bigint      generated always as identity primary key,
    name        text        not null,
    started_at  timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    outcome     text        not null check (outcome in ('done', 'failed')),
    buckets     bigint      not null default 0,      -- computed
    rows        bigint      not null default 0,      -- written
    frozen      bigint      not null default 0,      -- buckets left as they are, because retention has dropped their events
    error       text
);
create index rollup_runs_name on weir.rollup_runs (name, run_id);
comment on table weir.rollup_runs is 'What the latest runs of each rollup came to.';

-- The end of a bucket. Hours are all of one length; days, weeks and months are those of the time zone.
create function weir.bucket_end(unit text, start timestamptz, zone text) returns timestamptz
language sql stable parallel safe
return case unit when 'hour' then start + interval '1 hour'
                 -- Where clocks go forward at midnight, a day begins at one.
                 else (date_trunc(unit, start at time zone zone) + ('1 ' || unit)::interval) at time zone zone end;

-- The buckets that hold any moment from `since` to `until`, that one excluded.
create function weir.buckets(unit text, zone text, since timestamptz, until timestamptz) returns setof timestamptz
language plpgsql stable parallel safe rows 2
as $$
declare
    start timestamptz := date_trunc(unit, since, zone);
begin
    while start < until loop
        return next start;
        start := weir.bucket_end(unit, start, zone);
    end loop;
end
$$;

-- How many visitors took each of `steps`, one after the other. A step is a path (from '/' on, '*' stands for anything) or
-- the name of an event. Who took the first step has `within` for the rest.
create function analytics.funnel(
    steps text[], since timestamptz, until timestamptz default now(), "within" interval default '1 day', of_source text default null)
returns table (step integer, what text, visitors bigint, of_first double precision, of_previous double precision)
language plpgsql stable
set search_path = pg_catalog
as $$
declare
    query text := 'with hits as materialized (
        select e.visitor_id, e.occurred_at as at, s.step::integer
          from analytics.events e
          join unnest($1) with ordinality s (what, step)
            on case when left(s.what, 1) = ''/''
                    then e.kind = ''page''
                         and e.path like replace(replace(replace(replace(s.what, ''\'', ''\\''), ''%'', ''\%''), ''_'', ''\_''), ''*'', ''%'')
                    else e.name = s.what end
         where e.occurred_at >= $2 and e.occurred_at < $3 and not e.is_bot and e.visitor_id is not null
           and ($5 is null or e.source = $5)),
    step_1 as (select visitor_id, min(at) as at, min(at) as began from hits where step = 1 group by visitor_id)';
    counts text := 'select 1 as step, count(*) as visitors from step_1';
begin
    if coalesce(cardinality(steps), 0) not between 1 and 20 then
        raise exception 'a funnel has 1 to 20 steps' using errcode = '22023';
    end if;
    for n in 2 .. cardinality(steps) loop
        query := query || format(', step_%1$s as (
            select before.visitor_id, min(hit.at) as at, min(before.began) as began
              from step_%2$s before
              join hits hit on hit.visitor_id = before.visitor_id and hit.step = %1$s
                           and hit.at > before.at and hit.at <= before.began + $4
             group by before.visitor_id)', n, n - 1);
        counts := counts || format(' union all select %1$s, count(*) from step_%1$s', n);
    end loop;
    return query execute query || ' select c.step, $1[c.step], c.visitors,
            c.visitors / nullif(first_value(c.visitors) over w, 0)::double precision,
            case when c.step = 1 then 1 else c.visitors / nullif(lag(c.visitors) over w, 0)::double precision end
          from (' || counts || ') c window w as (order by c.step) order by c.step'
    using steps, since, until, "within", of_source;
end
$$;
comment on function analytics.funnel is 'How many visitors took each step after the one before: analytics.funnel(array[''/pricing'', ''signup''], now() - interval ''7 days'').';
