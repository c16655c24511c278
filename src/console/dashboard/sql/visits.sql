-- The visits that the filters leave. $1 and $2: the period; $3: the source; from $4 on what src/console/dashboard/filter.rs lists.
with visits as not materialized (
    select bucket, source, visitor_id, started_at, duration_s, page_views, is_bounce, entry_page, exit_page, referred_by, utm_medium,
           utm_campaign, country, region, device, browser, os, pages, event_names, vitals, is_only_visit
      from analytics.sessions
     where bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
       and ($3::text is null or source = $3)
       and ($4::text is null or $4 = any (pages))
       and ($5::text is null or entry_page = $5)
       and ($6::text is null or exit_page = $6)
       and ($7::text is null or referred_by = $7)
       and ($8::text is null or utm_source = $8)
       and ($9::text is null or utm_medium = $9)
       and ($10::text is null or utm_campaign = $10)
       and ($11::text is null or country = $11)
       and ($12::text is null or country || '/' || region = $12)
       and ($13::text is null or device = $13)
       and ($14::text is null or browser = $14)
       and ($15::text is null or os = $15)
       and ($16::text is null or $16 = any (event_names))
)
