//! Foreign tables are what the tables there are.

use sha2::{Digest, Sha256};
use tokio_postgres::config::Host;
use tokio_postgres::types::Type;

use super::{Bridge, ForeignError, Parameter, Refreshed, begin};
use crate::database::dependents::{capture, make_again, take_away};
use crate::sync::postgres::{literal, quoted, types};

const COLUMNS: &str = include_str!("sql/remote_columns.sql");
/// Rows that are brought at once; 100 are `postgres_fdw`'s own default.
const FETCH_ROWS: u32 = 10_000;

/// A table there.
#[derive(Debug)]
struct Table {
    schema: String,
    name: String,
    columns: Vec<(String, u32)>,
}

impl Table {
    fn local_name(&self) -> String {
        if self.schema == "public" { self.name.clone() } else { format!("{}_{}", self.schema, self.name) }
    }
}

impl Bridge {
    /// Makes all foreign tables anew, if those there have changed. `None`: they have not.
    pub async fn refresh(&self) -> Result<Option<Refreshed>, ForeignError> {
        let tables = self.tables().await?;
        if tables.is_empty() {
            return Err(ForeignError::NoTables);
        }
        // With the URL: a new password is a change, too.
        let digest = Sha256::digest(format!("{} {} {tables:?}", self.url, self.live_schema()));
        let fingerprint: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut client = self.local.client().await?;
        let transaction = client.transaction().await?;
        begin(&transaction, self.local.statement_timeout().as_millis()).await?;
        let sql = "select state ->> 'fingerprint' from sync.sources where source = $1 for no key update";
        let row = transaction.query_typed(sql, &[(&self.name, Type::TEXT)]).await?.into_iter().next();
        let Some(row) = row else { return Err(ForeignError::NotStarted(self.name.clone())) };
        if row.try_get::<_, Option<&str>>(0)? == Some(&fingerprint) {
            return Ok(None);
        }
        let sql = "select format('%I.%I', n.nspname, c.relname)
                     from pg_foreign_table f join pg_foreign_server s on s.oid = f.ftserver
                     join pg_class c on c.oid = f.ftrelid join pg_namespace n on n.oid = c.relnamespace
                    where s.srvname = $1";
        let old = transaction.query_typed(sql, &[(&self.server(), Type::TEXT)]).await?;
        let old: Vec<String> = old.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let captured = capture(&transaction, &old, false, "").await?;
        let (below, views): (Vec<_>, Vec<_>) = captured.into_iter().partition(|relation| relation.depth == 0);
        take_away(&transaction, &views).await?;
        for name in &old {
            transaction.batch_execute(&format!("drop foreign table {name}")).await?;
        }
        for statement in self.server_sql()? {
            transaction.batch_execute(&statement).await?;
        }
        for table in &tables {
            transaction.batch_execute(&self.table_sql(table)).await?;
        }
        // Their own grants and comments; those of columns that are gone are not missed.
        for statement in below.iter().flat_map(|table| &table.after) {
            transaction.batch_execute("savepoint weir_foreign").await?;
            let end = match transaction.batch_execute(statement).await {
                Ok(()) => "release savepoint weir_foreign",
                Err(error) => {
                    tracing::debug!(%error, statement, "not made again on a foreign table");
                    "rollback to savepoint weir_foreign"
                }
            };
            transaction.batch_execute(end).await?;
        }
        let broken = make_again(&transaction, &views).await?;
        let sql = "update sync.sources set state = jsonb_build_object('fingerprint', $2::text) where source = $1";
        let values: [Parameter<'_>; 2] = [(&self.name, Type::TEXT), (&fingerprint, Type::TEXT)];
        transaction.execute_typed(sql, &values).await?;
        transaction.commit().await?;
        tracing::info!(source = self.name, tables = tables.len(), "foreign tables were made anew");
        Ok(Some(Refreshed { tables: tables.len(), broken }))
    }

    async fn tables(&self) -> Result<Vec<Table>, ForeignError> {
        let there = |error: tokio_postgres::Error| ForeignError::There(error.into());
        let client = self.remote.client().await.map_err(ForeignError::There)?;
        let chosen = self.settings.chosen();
        let mut tables = Vec::new();
        for row in client.query_typed(COLUMNS, &[]).await.map_err(there)? {
            let (schema, name): (String, String) = (row.try_get(0).map_err(there)?, row.try_get(1).map_err(there)?);
            let names: Vec<String> = row.try_get(2).map_err(there)?;
            let oids: Vec<i64> = row.try_get(3).map_err(there)?;
            let mut columns: Vec<(String, u32)> =
                names.into_iter().zip(oids.into_iter().map(|oid| oid as u32)).collect();
            columns.retain(|(column, _)| chosen.takes_column(&schema, &name, column));
            let is_table: bool = row.try_get(4).map_err(there)?;
            // A view may show what is left out of its tables: it is seen if it is named in full.
            let is_asked = is_table || self.settings.tables.contains(&format!("{schema}.{name}"));
            if is_asked && chosen.takes(&schema, &name) && !columns.is_empty() {
                tables.push(Table { schema, name, columns });
            }
        }
        Ok(tables)
    }

    fn server_sql(&self) -> Result<[String; 3], ForeignError> {
        let bad = |reason: &str| ForeignError::Settings(format!("the URL of {}: {reason}", self.name));
        let url = url::Url::parse(&self.url).map_err(|_| bad("it cannot be read"))?;
        let sslmode = url.query_pairs().find(|(name, _)| name == "sslmode").map(|(_, value)| value.into_owned());
        let config: tokio_postgres::Config = {
            let mut plain = url.clone();
            plain.set_query(None);
            plain.as_str().parse().map_err(|_| bad("it cannot be read"))?
        };
        let Some(Host::Tcp(host)) = config.get_hosts().first() else { return Err(bad("it has no host")) };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let user = config.get_user().unwrap_or("postgres");
        let mut options = vec![
            ("host", host.clone()),
            ("port", port.to_string()),
            ("dbname", config.get_dbname().unwrap_or(user).to_owned()),
            ("fetch_size", FETCH_ROWS.to_string()),
            ("updatable", "false".to_owned()),
        ];
        options.extend(sslmode.map(|mode| ("sslmode", mode)));
        let list = |options: &[(&str, String)]| {
            options.iter().map(|(name, value)| format!("{name} {}", literal(value))).collect::<Vec<_>>().join(", ")
        };
        let mut login = vec![("user", user.to_owned())];
        if let Some(password) = config.get_password() {
            login.push(("password", String::from_utf8_lossy(password).into_owned()));
        }
        let server = quoted(&self.server());
        Ok([
            format!("drop server if exists {server} cascade"),
            format!("create server {server} foreign data wrapper postgres_fdw options ({})", list(&options)),
            // Whoever may read a table here: the grants on it decide.
            format!("create user mapping for public server {server} options ({})", list(&login)),
        ])
    }

    fn table_sql(&self, table: &Table) -> String {
        let column = |(name, oid): &(String, u32)| {
            let local = types::local(*oid);
            let is_foreign = local == "text" && !types::is_text(*oid);
            let type_ = if is_foreign { "sync.foreign_text".to_owned() } else { local };
            format!("{} {type_}", quoted(name))
        };
        let columns: Vec<String> = table.columns.iter().map(column).collect();
        format!(
            "create foreign table {}.{} ({}) server {} options (schema_name {}, table_name {})",
            quoted(&self.live_schema()),
            quoted(&table.local_name()),
            columns.join(", "),
            quoted(&self.server()),
            literal(&table.schema),
            literal(&table.name)
        )
    }

    /// The foreign tables that there are, with their schemas left out.
    pub(super) async fn live_tables(&self) -> Result<Vec<String>, ForeignError> {
        let sql = "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
                     join pg_foreign_table f on f.ftrelid = c.oid join pg_foreign_server s on s.oid = f.ftserver
                    where n.nspname = $1 and s.srvname = $2 order by 1";
        let values: [Parameter<'_>; 2] = [(&self.live_schema(), Type::TEXT), (&self.server(), Type::TEXT)];
        let rows = self.local.client().await?.query_typed(sql, &values).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}
