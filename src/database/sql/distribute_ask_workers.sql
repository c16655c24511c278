-- What each worker of the cluster answers to $1; one that cannot be reached says why.
select nodename || ':' || nodeport as node, success, coalesce(result, '') as said
  from run_command_on_workers($1)
 order by node
