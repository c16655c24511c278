-- The newest $4 entries older than $1, of the role $2 and the action $3, where those are given.
select audit_id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as at, role, action, left(detail, $5) as detail,
       coalesce(host(address), '') as address
  from console.audit
 where ($1::bigint is null or audit_id < $1)
   and ($2 = '' or role = $2)
   and ($3 = '' or action = $3)
 order by audit_id desc
 limit $4
