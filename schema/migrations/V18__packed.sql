-- Rollups that weir packs: it reads what their SELECT gives, and writes the rows itself.
set local lock_timeout = '5s';

alter table weir.rollups add column is_packed boolean not null default false;
comment on column weir.rollups.is_packed is 'Whether weir packs what the SELECT gives, for the dashboard.';
