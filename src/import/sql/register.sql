insert into weir.imports (import_id, source, format, file, fingerprint) values ($1, $2, $3, $4, $5)
