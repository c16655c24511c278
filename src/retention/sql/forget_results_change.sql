update console.results set row_count = $2, byte_count = $3, cut = $4, rows = $5 where result_id = $1
