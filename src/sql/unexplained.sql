select source, unexplained from weir.accounting where source is not null order by source limit 1000
