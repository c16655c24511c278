with visitors as (
    select visitor_id,
           min(occurred_at) filter (where kind = 'page' and path like '/pricing/%') as pricing_at,
           min(occurred_at) filter (where name = 'signup') as signup_at,
           max(occurred_at) filter (where name = 'purchase') as purchase_at
      from analytics.events
     where occurred_at >= current_date - 7
     group by visitor_id)
select count(pricing_at) as pricing, count(*) filter (where signup_at > pricing_at) as signup,
       count(*) filter (where signup_at > pricing_at and purchase_at > signup_at) as purchase
  from visitors
