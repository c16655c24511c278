select source, unexplained from weir.accounting where unexplained <> 0 order by source limit 100
