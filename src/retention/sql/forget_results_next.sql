select result_id, columns::text as columns, cut, row_count, rows from console.results where result_id > $1 order by result_id limit 1
