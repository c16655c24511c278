-- What each worker of the cluster answers; one that cannot be reached says why.
select nodename || ':' || nodeport as node, success, coalesce(result, '') as said
  from run_command_on_workers('select 1')
 order by node
