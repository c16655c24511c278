select to_regclass('weir.migrations') is not null and to_regclass('analytics.events') is not null
