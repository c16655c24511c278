-- citus: src/retention/expire.rs sends them one by one
alter table analytics.events detach partition {leaf};
alter table {leaf} set schema weir;
alter table weir.{bare} rename to {expired};
