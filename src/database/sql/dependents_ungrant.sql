-- Takes away what others may do with $1.
select distinct format('revoke all on %s from %s', $1,
                       case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end)
  from pg_class c, aclexplode(c.relacl) g
 where c.oid = $1::text::regclass and g.grantee <> c.relowner
