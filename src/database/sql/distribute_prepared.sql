-- What each worker has prepared and not committed; one that does not answer says why.
select nodename || ':' || nodeport as node, success, coalesce(result, '') as said
  from run_command_on_workers($of_each$
           select coalesce(string_agg(gid, ' '), '') from pg_prepared_xacts where database = current_database() and gid like 'citus\_%'
       $of_each$)
