-- Who may send, and the salts that make anonymous visitors countable for a day.
set local lock_timeout = '5s';

create table weir.sources (
    source      text        primary key check (source ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    origins     text[]      not null default '{}',  -- browsers of other origins are refused; empty: any
    created_at  timestamptz not null default now(),
    disabled_at timestamptz
);

create table weir.write_keys (
    key_hash   bytea       primary key,             -- SHA-256 of the key; the key itself is shown once and kept nowhere
    source     text        not null references weir.sources,
    kind       text        not null check (kind in ('public', 'secret')),
    hint       text        not null,                -- its first characters, to tell keys apart
    created_at timestamptz not null default now(),
    expires_at timestamptz
);

-- One salt a day, destroyed two days later: after that no one can link a visitor id to an address.
create table weir.salts (
    day  date  primary key,
    salt bytea not null
);
