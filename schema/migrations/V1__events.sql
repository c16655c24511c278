-- The events table: what people query. One row an event, one partition a day of `occurred_at` (UTC).
-- The column order is the order of a journal tuple (src/row.rs): append columns only, and raise ROW_VERSION there.
set local lock_timeout = '5s';

create schema if not exists analytics;

create table analytics.events (
    event_id        uuid        not null,
    occurred_at     timestamptz not null,
    received_at     timestamptz not null,
    sent_at         timestamptz,
    source          text        not null,
    kind            text        not null,
    name            text,
    visitor_id      text,
    user_id         text,
    session_id      text,
    url             text,
    host            text,
    path            text,
    query           text,
    title           text,
    referrer        text,
    referrer_host   text,
    utm_source      text,
    utm_medium      text,
    utm_campaign    text,
    utm_term        text,
    utm_content     text,
    ip              inet,
    country         text,
    region          text,
    city            text,
    browser         text,
    browser_version text,
    os              text,
    os_version      text,
    device          text,
    is_bot          boolean     not null,
    language        text,
    screen          text,
    properties      jsonb,
    context         jsonb
) partition by range (occurred_at);

comment on table  analytics.events is 'Every event received, one row each, partitioned by day of occurred_at (UTC).';
comment on column analytics.events.event_id is 'UUIDv8: 48 bits of occurred_at in milliseconds, then a hash of (source, message id). A retry has the same id.';
comment on column analytics.events.occurred_at is 'The client''s own timestamp where it is believable, else the time of receipt (the original is then context.timestamp).';
comment on column analytics.events.received_at is 'When the collector took the event.';
comment on column analytics.events.kind is 'page, click, track, identify, ... as the client named it.';
comment on column analytics.events.visitor_id is 'The client''s visitor id, else a hash that changes each day and cannot be traced back.';
comment on column analytics.events.ip is 'As the setting privacy.ip says: full, truncated to /24 or /48, or absent.';
comment on column analytics.events.properties is 'What the client said of this event.';
comment on column analytics.events.context is 'Everything the client sent that no column holds.';

-- Stays empty: partitions are made ahead and on demand. A row here is an alarm.
create table analytics.events_default partition of analytics.events default;
create unique index events_default_event_id on analytics.events_default (event_id);
