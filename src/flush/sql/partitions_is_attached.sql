select exists (select from pg_inherits
                where inhrelid = to_regclass($1) and inhparent = 'analytics.events'::regclass) as is_attached
