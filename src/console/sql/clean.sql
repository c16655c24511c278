-- Results whose time is over, and what is older than anybody asks for.
delete from console.results where expires_at < now();
-- Of a process that is gone.
update console.runs set state = 'failed', error = 'the collector ended meanwhile'
 where state = 'running' and started_at < now() - interval '1 day';
delete from console.runs where started_at < now() - interval '90 days';
delete from console.audit where at < now() - interval '1 year';
