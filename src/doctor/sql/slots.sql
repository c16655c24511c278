-- Replication slots of this server, with the WAL that each keeps back.
select slot_name::text as name, active, coalesce(wal_status, '') as wal_status,
       coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
                                restart_lsn), 0)::bigint as kept_bytes
  from pg_replication_slots
 order by slot_name
