delete from weir.retention_runs where id <= (select max(id) from weir.retention_runs) - $1
