select source from weir.lake_files where day = $1::text::date and part = $2 and source <> all ($3::text[]) order by source
