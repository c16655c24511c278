select coalesce(max(version), 0)::bigint from weir.migrations
