with destroyed as (
    delete from weir.salts where day < date '1970-01-01' + $1 - 1
)
insert into weir.salts (day, salt)
select date '1970-01-01' + $1 + ahead::int - 1, salt
  from unnest($2::bytea[]) with ordinality as fresh (salt, ahead)
on conflict (day) do nothing
