select day - date '1970-01-01' as day, salt from weir.salts
