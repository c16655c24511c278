select count(*) as rows from only {table} event where {person}
