-- Takes all marks of a day that no transaction under way relies on: from now on its parts are stale until they are exported.
with taken as (
    delete from weir.lake_marks
     where mark_id in (select mark_id from weir.lake_marks where day = $1::text::date for update skip locked)
    returning noted_at
)
update weir.lake_days
   set stale_since = least(case when is_stale then stale_since else 'infinity' end,
                           coalesce((select min(noted_at) from taken), now())),
       is_stale = true, attempt = attempt + 1
 where day = $1::text::date and dropped_at is null
returning part, detached, attempt
