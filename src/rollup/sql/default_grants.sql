-- What default privileges would have given on $1, had it been made in the schema analytics.
select format('grant %s on %s to %s%s', g.privilege_type, $1,
              case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
              case when g.is_grantable then ' with grant option' else '' end)
  from pg_default_acl d, aclexplode(d.defaclacl) g
 where d.defaclnamespace = 'analytics'::regnamespace and d.defaclobjtype = 'r' and g.grantee <> d.defaclrole
   and d.defaclrole = (select oid from pg_roles where rolname = current_user)
