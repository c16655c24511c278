-- kind: incremental
-- every: 5m
-- bucket: day
-- unique: name, bucket, source, key, value
-- description: How often events of each name had each value of a property in each day, and of how many visitors, without bots; where `value` is null, all values of the key that have no row of their own.
--
-- Texts, numbers and truths, 200 characters of each. Anybody may send ids as values, keys or names, so rows are bounded: of each
-- day, source, name and key there are the 200 values of most events and one row for all others, whose visitors are those of any of
-- them; of each name the 50 keys of most events; and of each day and source the keys of most events whose rows are 100,000
-- together. For an index's sake a key has 200 characters at most, and for the time's only the first 200 properties of an
-- event are looked at, in the order that jsonb keeps them in, short ones first. The index begins with what the dashboard looks for.
with sent as (
    -- Bytes are compared faster than words of a language, and in one order everywhere.
    select bucket, source collate "C" as source, name collate "C" as name, p.key collate "C" as key,
           left(p.value #>> '{}', 200) collate "C" as value, visitor_id collate "C" as visitor_id
      from events,
           jsonb_each(case jsonb_typeof(properties) when 'object' then properties end) with ordinality as p (key, value, place)
     where not is_bot and name is not null
       and kind not in ('page', 'engagement', 'web_vitals', 'identify', 'alias', 'group')
       and jsonb_typeof(p.value) in ('string', 'number', 'boolean')
       and length(p.key) <= 200 and p.place <= 200
), counted as (
    select *, count(*) over (partition by bucket, source, name, key, value) as of_value
      from sent
), placed as (
    -- Each step needs the order of the one before and a little more. Nothing is joined, so nothing depends on estimates.
    select *, dense_rank() over (partition by bucket, source, name, key order by of_value desc, value) as place
      from counted
), by_value as (
    select bucket, source, name, key, case when max(place) <= 200 then min(value) end as value, count(*) as events,
           -- Who has several of the other values is one visitor of them.
           count(distinct visitor_id) as visitors, sum(count(*)) over (partition by bucket, source, name, key) as of_key
      from placed
     group by bucket, source, name, key, least(place, 201)
), keys_of_names as (
    select *, dense_rank() over (partition by bucket, source, name order by of_key desc, key) as key_place
      from by_value
), keys_of_sources as (
    -- All rows of a key are peers, and come or go together.
    select *, count(*) over (partition by bucket, source order by of_key desc, name, key) as so_far
      from keys_of_names
     where key_place <= 50
)
select bucket, source collate "default" as source, name collate "default" as name, key collate "default" as key,
       value collate "default" as value, events, visitors
  from keys_of_sources
 where so_far <= 100000;
