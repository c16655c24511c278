-- Rollups that weir packs: it reads what their SELECT gives, and writes the rows itself.
set local lock_timeout = '5s';

alter table weir.rollups add column is_packed boolean not null default false;
