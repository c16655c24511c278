-- Before any of them is written: what is named here is looked for when its source is gone from the day.
insert into weir.lake_files (day, part, source)
select $1::text::date, $2, source from unnest($3::text[]) as source
on conflict do nothing
