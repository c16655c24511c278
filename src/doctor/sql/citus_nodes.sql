-- What each node of the cluster answers; one that cannot be reached says why.
select nodename || ':' || nodeport as node, success, coalesce(result, '') as said
  from run_command_on_all_nodes('select 1') join pg_dist_node using (nodeid)
 order by node
