select to_regclass('analytics.events_default') is not null as is_there
