-- Webhooks: the secrets with which other services sign what they send.
set local lock_timeout = '5s';

create table weir.webhook_secrets (
    id         bigint      generated always as identity primary key,
    source     text        not null references weir.sources,
    service    text        not null check (service in ('stripe', 'github', 'shopify', 'slack', 'intercom', 'standard')),
    secret     text        not null check (octet_length(secret) between 8 and 512),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    unique (source, service, secret)
);
comment on table weir.webhook_secrets is 'Signing secrets of webhooks. Readable, as a signature can only be checked by making it again: for weir''s own role alone.';

-- Whoever may read what is made in this schema (alter default privileges) may not read these.
do $$
declare
    reader record;
begin
    for reader in
        select distinct g.grantee
          from pg_class c, aclexplode(c.relacl) g
         where c.oid = 'weir.webhook_secrets'::regclass and g.grantee <> c.relowner
    loop
        execute format('revoke all on weir.webhook_secrets from %s',
                       case reader.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(reader.grantee)) end);
    end loop;
end
$$;
