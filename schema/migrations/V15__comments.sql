-- What every column that people look at means: docs/tables.md is made of this.
set local lock_timeout = '5s';

comment on column analytics.events.host is 'The host of url.';
comment on column analytics.events.path is 'The path of url.';
comment on column analytics.events.query is 'What follows the ? in url.';
comment on column analytics.events.browser_version is 'As far as the user agent says.';
comment on column analytics.events.os_version is 'As far as the user agent says.';
comment on column analytics.events.device is 'The kind or model by the user agent, as iPhone; null for a computer, and where none is recognised.';
comment on column analytics.events.occurred_at is 'The client''s own timestamp where it lies in the last 30 days or the next hour (20 years with a secret key), else the time of receipt; what was said instead is context.timestamp.';
comment on column analytics.events.kind is 'page, click, track, identify, webhook, ... as the client named it; page for what has no name, else track.';
comment on column analytics.events.context is 'All else that the client sent: unknown members, its own context; also click_ids of the URL, a user agent that was not recognised, a timestamp that was not believed.';
comment on column analytics.events.visitor_id is 'The client''s visitor id, else a hash of the day''s secret salt, source, address and user agent: the same all day, meaningless afterwards.';

comment on column analytics.people.source is 'Whose write key the identify events came with.';
comment on column analytics.people.user_id is 'As the client says.';
comment on column analytics.people.visitor_id is 'The visitor of the newest identify event.';
comment on column analytics.people.traits is 'The properties of the newest identify event.';
comment on column analytics.people.first_identified_at is 'When they were first identified.';
comment on column analytics.people.last_identified_at is 'When they were last identified.';

comment on column analytics.identities.source is 'Whose write key the events came with.';
comment on column analytics.identities.visitor_id is 'As in analytics.events.';
comment on column analytics.identities.user_id is 'As in analytics.events.';
comment on column analytics.identities.first_seen_at is 'The first event with both ids.';
comment on column analytics.identities.last_seen_at is 'The last event with both ids.';

comment on column analytics.usage.person is 'Their role.';
comment on column analytics.usage.week is 'Its Monday.';
comment on column analytics.usage.statements is 'That clients sent; null where nobody counts.';
comment on column analytics.usage.exec_seconds is 'That these took.';
comment on column analytics.usage.rows is 'That they returned or changed.';
comment on column analytics.usage.blocks_read is 'From the disk or the system''s cache, of 8 kB.';
comment on column analytics.usage.blocks_hit is 'From PostgreSQL''s own cache, of 8 kB.';
comment on column analytics.usage.temp_bytes is 'Written to temporary files.';
comment on column analytics.usage.schema_bytes is 'Of all that is theirs, as last measured in the week.';
comment on column analytics.usage.statements_change is 'Than in the week before.';
comment on column analytics.usage.exec_seconds_change is 'Than in the week before.';
comment on column analytics.usage.temp_bytes_change is 'Than in the week before.';
comment on column analytics.usage.schema_bytes_change is 'Than in the week before.';

comment on column weir.accounting.source is 'Whose write key the events came with.';
comment on column weir.accounting.accepted is 'Answered with a success, ever.';
comment on column weir.accounting.stored is 'Rows of analytics.events, ever; weir.removed has those that were taken out.';
comment on column weir.accounting.duplicate is 'Known already.';
comment on column weir.accounting.quarantined is 'Refused by PostgreSQL, and kept in weir.quarantine.';
comment on column weir.accounting.pending is 'Still only in a journal.';
comment on column weir.accounting.unexplained is 'What is missing, or too many: 0 whenever the collectors are at rest.';

comment on table weir.quarantine is 'Rows that PostgreSQL refused, each with its reason; replayed ones stay for the books.';
comment on column weir.quarantine.id is 'For weir quarantine replay --id.';
comment on column weir.quarantine.quarantined_at is 'When it was refused.';
comment on column weir.quarantine.source is 'Whose write key it came with.';
comment on column weir.quarantine.event_id is 'As it would be in analytics.events.';
comment on column weir.quarantine.sqlstate is 'PostgreSQL''s code of the reason.';
comment on column weir.quarantine.message is 'PostgreSQL''s reason.';
comment on column weir.quarantine.event is 'The row as JSON, to read.';
comment on column weir.quarantine.tuple is 'The row as COPY BINARY, to replay.';
comment on column weir.quarantine.row_version is 'The format of tuple.';
comment on column weir.quarantine.segment_id is 'Of the journal''s file that it came from.';
comment on column weir.quarantine.outcome is 'What became of it: quarantined until it is replayed or forgotten.';
comment on column weir.quarantine.replayed_at is 'When it was replayed.';

comment on column weir.removed.source is 'Whose write key they came with.';
comment on column weir.removed.reason is 'retention or forgotten.';
comment on column weir.removed.rows is 'How many, ever.';
comment on column weir.removed.updated_at is 'The last time.';

comment on column weir.retention_runs.id is 'Ascending.';
comment on column weir.retention_runs.run_at is 'When the run began.';
comment on column weir.retention_runs.noted_at is 'When this was done.';
comment on column weir.retention_runs.day is 'Of occurred_at (UTC).';
comment on column weir.retention_runs.action is 'detached, archived, dropped or deleted.';
comment on column weir.retention_runs.rule is 'Whose time was over: events for retention.events.';
comment on column weir.retention_runs.rows is 'How many.';
comment on column weir.retention_runs.detail is 'The table detached or dropped, the file written.';

comment on column weir.forget_requests.id is 'Ascending.';
comment on column weir.forget_requests.requested_at is 'When it was asked for.';
comment on column weir.forget_requests.finished_at is 'When nothing was left.';
comment on column weir.forget_requests.kind is 'visitor or user.';
comment on column weir.forget_requests.source is 'Whose events; null: all.';
comment on column weir.forget_requests.person is 'Whom; null once it is done.';
comment on column weir.forget_requests.ids is 'All visitors and users that the person was; empty once it is done.';
comment on column weir.forget_requests.rows is 'That went, of all tables.';

comment on column weir.rollups.rollup_id is 'Its number.';
comment on column weir.rollups.name is 'The relation in analytics, and the file.';
comment on column weir.rollups.kind is 'view, materialized or incremental.';
comment on column weir.rollups.state is 'live; building beside the live one, until it is filled.';
comment on column weir.rollups.is_defined is 'False: its file is gone.';
comment on column weir.rollups.hash is 'Of all that makes its rows.';
comment on column weir.rollups.body is 'The SELECT.';
comment on column weir.rollups.bucket is 'hour, day, week or month.';
comment on column weir.rollups.timezone is 'In which days begin.';
comment on column weir.rollups.look_back is 'How far before a bucket its rows depend on events.';
comment on column weir.rollups.look_ahead is 'How far after a bucket.';
comment on column weir.rollups.unique_columns is 'Of its unique index.';
comment on column weir.rollups.columns is 'In order.';
comment on column weir.rollups.every is 'How often it is computed, or cron''s fields.';
comment on column weir.rollups.keep is 'How long its rows stay, if not for ever.';
comment on column weir.rollups.description is 'For people.';
comment on column weir.rollups.reads_events is 'Whether it follows events.';
comment on column weir.rollups.upstream is 'Rollups that it reads.';
comment on column weir.rollups.made_at is 'When its table was made.';
comment on column weir.rollups.started_at is 'When its last run began.';
comment on column weir.rollups.succeeded_at is 'When a run last succeeded.';
comment on column weir.rollups.failures is 'In a row.';
comment on column weir.rollups.error is 'Of the last run, if that failed.';

comment on column weir.rollup_runs.run_id is 'Ascending.';
comment on column weir.rollup_runs.name is 'Of the rollup.';
comment on column weir.rollup_runs.started_at is 'When it began.';
comment on column weir.rollup_runs.finished_at is 'When it ended.';
comment on column weir.rollup_runs.outcome is 'done or failed.';
comment on column weir.rollup_runs.buckets is 'That were computed.';
comment on column weir.rollup_runs.rows is 'That were written.';
comment on column weir.rollup_runs.frozen is 'Buckets left as they are, because retention has dropped their events.';
comment on column weir.rollup_runs.error is 'Why it failed.';

comment on table weir.sources is 'Who may send.';
comment on column weir.sources.source is 'Its name.';
comment on column weir.sources.origins is 'Browsers of other origins are refused; empty: any.';
comment on column weir.sources.created_at is 'When it was added.';
comment on column weir.sources.disabled_at is 'Since when nothing is taken.';

comment on table weir.write_keys is 'Keys of sources: only their hashes.';
comment on column weir.write_keys.key_hash is 'SHA-256 of the key; the key itself was shown once.';
comment on column weir.write_keys.source is 'Whose it is.';
comment on column weir.write_keys.hint is 'Its first characters, to tell keys apart.';
comment on column weir.write_keys.created_at is 'When it was made.';
comment on column weir.write_keys.expires_at is 'When it ends; null: never.';

comment on column weir.usage_days.person is 'Their role.';
comment on column weir.usage_days.day is 'Of UTC.';
comment on column weir.usage_days.statements is 'As PostgreSQL counts them: those that clients sent.';
comment on column weir.usage_days.exec_seconds is 'That these took.';
comment on column weir.usage_days.rows is 'That they returned or changed.';
comment on column weir.usage_days.blocks_read is 'From the disk, or the system''s cache.';
comment on column weir.usage_days.blocks_hit is 'From PostgreSQL''s own cache.';
comment on column weir.usage_days.temp_bytes is 'Written to temporary files.';
comment on column weir.usage_days.schema_bytes is 'Of all that is theirs, as last measured.';
comment on column weir.usage_days.seen_at is 'When it was last measured.';

comment on column sync.sources.source is 'Its name in the settings.';
comment on column sync.sources.kind is 'singer, postgres or foreign.';
comment on column sync.sources.schema is 'Of its tables.';
comment on column sync.sources.state is 'A tap''s last STATE, written in the transaction with the rows it covers.';
comment on column sync.sources.batch is 'Of its last flush.';
comment on column sync.sources.covered is 'Of the last flush that the state covers.';
comment on column sync.sources.run_id is 'Only this run may write.';
comment on column sync.sources.made_at is 'When it was added.';

comment on column sync.runs.run_id is 'Ascending.';
comment on column sync.runs.source is 'Its name.';
comment on column sync.runs.started_at is 'When it began.';
comment on column sync.runs.seen_at is 'When it last wrote.';
comment on column sync.runs.finished_at is 'When it ended.';
comment on column sync.runs.outcome is 'running, done, failed or lost.';
comment on column sync.runs.rows is 'Records taken.';
comment on column sync.runs.rejected is 'Records that are in sync.rejects.';
comment on column sync.runs.error is 'Why it failed.';
comment on column sync.runs.log is 'The end of what the tap said.';

comment on column sync.rejects.reject_id is 'Ascending.';
comment on column sync.rejects.run_id is 'Of sync.runs.';
comment on column sync.rejects.source is 'Its name.';
comment on column sync.rejects.stream is 'Of the record.';
comment on column sync.rejects.reason is 'Why it fits no table.';
comment on column sync.rejects.record is 'As the tap wrote it.';
comment on column sync.rejects.batch is 'Of the flush that wrote it.';
comment on column sync.rejects.rejected_at is 'When.';

comment on column sync.replication_status.source is 'Its name in the settings.';
comment on column sync.replication_status.schema is 'Of its tables.';
comment on column sync.replication_status.slot_state is 'As pg_replication_slots there says.';
comment on column sync.replication_status.slot_bytes is 'Of WAL that is kept there for weir.';
comment on column sync.replication_status.lag_s is 'Age of the oldest commit there that is not here.';
comment on column sync.replication_status.applied_at is 'When the newest transaction that is here was committed there.';
comment on column sync.replication_status.error is 'Null: it works.';
comment on column sync.replication_status.live is 'Tables that follow.';
comment on column sync.replication_status.to_copy is 'Tables that wait to be copied.';
comment on column sync.replication_status.left_out is 'Tables that are left out; sync.tables has the reason.';
comment on column sync.replication_status.gone is 'Tables that are gone there.';

comment on column sync.changes.change_id is 'Ascending.';
comment on column sync.changes.source is 'Its name.';
comment on column sync.changes.relation is 'The table here.';
comment on column sync.changes.change is 'For people.';
comment on column sync.changes.statement is 'What was run here.';
comment on column sync.changes.changed_at is 'When.';

comment on column sync.broken_views.name is 'With its schema.';
comment on column sync.broken_views.definition is 'The SELECT.';
comment on column sync.broken_views.statements is 'What follows it: indexes, comments, grants, owner.';
comment on column sync.broken_views.reason is 'Why PostgreSQL refused it.';
comment on column sync.broken_views.broken_at is 'When.';
