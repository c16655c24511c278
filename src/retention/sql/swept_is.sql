select exists (select from weir.retention_swept
                where day = $1::text::date and rules = $2 and inserted = $3 and blocks = $4) as swept
