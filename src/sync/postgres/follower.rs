//! One table here follows the one there.

use std::collections::HashSet;

use deadpool_postgres::Transaction;
use tokio_postgres::types::Type;

use super::follow::{NAME_BYTES_MAX, Parameter, Source, create_table_sql, local_name, wanted};
use super::known::{self, ColumnState, KnownColumn, KnownTable, State};
use super::lsn::Lsn;
use super::publisher::{RemoteColumn, RemoteTable};
use super::{ReplicationError, literal, quoted, types};
use crate::database::dependents::with_dependents;

/// Before it, the stream does not tell that a table was truncated.
const TRUNCATES_VERSION: i32 = 110_000;

/// One table, and what is there.
pub(super) struct Follower<'a> {
    pub transaction: &'a Transaction<'a>,
    pub source: &'a Source,
    pub remote: &'a RemoteTable,
    /// Of the publisher.
    pub version: i32,
    pub at: Lsn,
    /// Taken here by others.
    pub names: HashSet<String>,
}

impl Follower<'_> {
    pub fn left_out(&self, reason: String) -> KnownTable {
        KnownTable::left_out(self.remote, self.free_name(), reason)
    }

    /// Its name here, or another one where two there would have the same.
    fn free_name(&self) -> String {
        let name = local_name(self.remote);
        let is_free = name.len() <= NAME_BYTES_MAX && !self.names.contains(&name);
        if is_free { name } else { format!("table_{}", self.remote.relid) }
    }

    pub async fn make(&self) -> Result<KnownTable, ReplicationError> {
        let relation = self.free_name();
        let full = format!("{}.{}", quoted(&self.source.schema), quoted(&relation));
        let mark = mark(self.source, self.remote);
        let sql = "select coalesce(obj_description(to_regclass($1), 'pg_class') = $2, false)
                    where to_regclass($1) is not null";
        let values: [Parameter<'_>; 2] = [(&full, Type::TEXT), (&mark, Type::TEXT)];
        match self.transaction.query_typed(sql, &values).await?.first() {
            Some(row) if row.try_get(0)? => return self.take_over(relation).await,
            Some(_) => {
                let reason = format!("{full} is here already, and not of this source: rename it");
                return Ok(self.left_out(reason));
            }
            None => {}
        }
        let sql = create_table_sql(self.source, &relation, self.remote);
        let comment = format!("comment on table {full} is {}", literal(&mark));
        self.transaction.batch_execute(&format!("{sql}; {comment}")).await?;
        let column = |column: &RemoteColumn| {
            let is_wanted = self.wants(column);
            known_column(column, if is_wanted { ColumnState::Live } else { ColumnState::LeftOut })
        };
        let columns = self.remote.columns.iter().filter(|column| !column.is_gone);
        let table = KnownTable {
            relation,
            state: State::Copy,
            reason: Some("it is new".to_owned()),
            key: self.remote.key.clone(),
            wait: Some(self.at),
            columns: columns.map(column).collect(),
            ..self.left_out(String::new())
        };
        known::note(self.transaction, &self.source.name, &table.relation, "a table is added", Some(&sql)).await?;
        Ok(table)
    }

    /// A table that came when the source was started before goes on, so that views stay.
    async fn take_over(&self, relation: String) -> Result<KnownTable, ReplicationError> {
        let sql = "select attname::text, format_type(atttypid, null) from pg_attribute
                    where attrelid = $1::text::regclass and attnum > 0 and not attisdropped order by attnum";
        let full = format!("{}.{}", quoted(&self.source.schema), quoted(&relation));
        let mut columns = Vec::new();
        for (place, row) in self.transaction.query_typed(sql, &[(&full, Type::TEXT)]).await?.iter().enumerate() {
            let (name, type_): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let heir = wanted(self.source, self.remote).find(|there| there.name == name);
            columns.push(KnownColumn {
                // Numbers of gone columns are never those of others.
                attnum: heir.map_or(-1 - place as i16, |heir| heir.attnum),
                name,
                // What it was is forgotten: it is as it is here, and is made what it has to be.
                type_oid: 0,
                type_mod: -1,
                type_,
                state: if heir.is_some() { ColumnState::Live } else { ColumnState::Gone },
            });
        }
        let table = KnownTable { relation, columns, ..self.left_out(String::new()) };
        self.change_known(table).await
    }

    pub async fn change(
        &self,
        mut table: KnownTable,
        objection: Option<String>,
    ) -> Result<KnownTable, ReplicationError> {
        if let Some(reason) = objection {
            if table.state != State::LeftOut {
                let change = format!("left out from now on: {reason}");
                known::note(self.transaction, &self.source.name, &table.relation, &change, None).await?;
            }
            (table.state, table.reason) = (State::LeftOut, Some(reason));
            return Ok(table);
        }
        if table.columns.is_empty() {
            return self.make().await;
        }
        self.change_known(table).await
    }

    fn wants(&self, column: &RemoteColumn) -> bool {
        // One that becomes a plain one has values already.
        !column.is_generated && self.source.takes_column(self.remote, column)
    }

    async fn change_known(&self, mut table: KnownTable) -> Result<KnownTable, ReplicationError> {
        if matches!(table.state, State::LeftOut | State::Gone) {
            self.copy_anew(&mut table, "it was away");
        }
        if table.entry != self.remote.entry {
            self.copy_anew(&mut table, "it was not published meanwhile");
            table.entry = self.remote.entry;
        }
        if self.remote.is_refilled {
            self.copy_anew(&mut table, "rows of its partitions do not come by the stream");
        }
        table.leaves.clone_from(&self.remote.leaves);
        self.hold_columns(&mut table).await?;
        self.rename_table(&mut table).await?;
        let is_rewritten = table.filenode != self.remote.filenode;
        if is_rewritten && self.version < TRUNCATES_VERSION {
            self.copy_anew(&mut table, "it was truncated or rewritten");
        }
        let newest = table.columns.iter().map(|column| column.attnum).max().unwrap_or(0);
        self.let_go(&mut table).await?;
        self.rename_columns(&mut table).await?;
        for column in self.remote.columns.iter().filter(|column| !column.is_gone) {
            let is_wanted = self.wants(column);
            let Some(index) = table.columns.iter().position(|known| known.attnum == column.attnum) else {
                if is_wanted {
                    // A partitioned table has no rows itself: what older ones have is not in its catalog.
                    let is_told = !(self.remote.is_partitioned && column.has_default);
                    let is_filled = column.missing.is_some() || (!is_rewritten && column.attnum > newest && is_told);
                    self.add_column(&mut table, column, is_filled).await?;
                } else {
                    table.columns.push(known_column(column, ColumnState::LeftOut));
                }
                continue;
            };
            match (table.columns[index].state, is_wanted) {
                (ColumnState::LeftOut, true) => {
                    table.columns.remove(index);
                    self.add_column(&mut table, column, false).await?;
                }
                (ColumnState::Live, true) => self.change_type(&mut table, index, column, is_rewritten).await?,
                _ => {}
            }
        }
        if table.key != self.remote.key {
            table.key.clone_from(&self.remote.key);
            self.copy_anew(&mut table, "its key changed");
        }
        table.filenode = self.remote.filenode;
        table.columns.sort_by_key(|column| column.attnum);
        Ok(table)
    }

    fn copy_anew(&self, table: &mut KnownTable, reason: &str) {
        if table.state != State::Copy {
            tracing::info!(source = self.source.name, table = table.relation, reason, "a table is to be copied anew");
        }
        (table.state, table.reason, table.wait) = (State::Copy, Some(reason.to_owned()), Some(self.at));
    }

    fn table(&self, table: &KnownTable) -> String {
        table.sql_name(&self.source.schema)
    }

    async fn run(&self, table: &KnownTable, change: &str, sql: &str) -> Result<(), ReplicationError> {
        self.transaction.batch_execute(sql).await?;
        known::note(self.transaction, &self.source.name, &table.relation, change, Some(sql)).await
    }

    async fn rename_table(&self, table: &mut KnownTable) -> Result<(), ReplicationError> {
        let name = self.remote.full_name();
        if table.remote == name {
            return Ok(());
        }
        let to = self.free_name();
        if to != table.relation {
            let sql = format!("alter table {} rename to {}", self.table(table), quoted(&to));
            self.run(table, &format!("renamed to {to}"), &sql).await?;
            table.relation = to;
        }
        table.remote = name;
        let comment = format!("comment on table {} is {}", self.table(table), literal(&mark(self.source, self.remote)));
        self.transaction.batch_execute(&comment).await?;
        Ok(())
    }

    /// What was left out by its name does not come here by another one. Before names are followed.
    async fn hold_columns(&self, table: &mut KnownTable) -> Result<(), ReplicationError> {
        let (before, name) = (table.remote.clone(), self.remote.full_name());
        for column in table.columns.iter_mut().filter(|column| column.state == ColumnState::LeftOut) {
            let there = self.remote.columns.iter().find(|there| there.attnum == column.attnum && !there.is_gone);
            let Some(there) = there.filter(|there| self.source.takes_column(self.remote, there)) else { continue };
            let is_renamed = before != name || column.name != there.name;
            if is_renamed && self.source.excludes_column(&before, &column.name) {
                let change = format!(
                    "{name}.{} stays left out: it was {before}.{}; `weir sync resync {} --table {name}` takes it",
                    there.name, column.name, self.source.name
                );
                known::note(self.transaction, &self.source.name, &table.relation, &change, None).await?;
                column.state = ColumnState::Held;
            }
        }
        Ok(())
    }

    /// Columns that are gone there keep their values; those that are not to come here any more lose theirs.
    async fn let_go(&self, table: &mut KnownTable) -> Result<(), ReplicationError> {
        for index in 0..table.columns.len() {
            let column = &table.columns[index];
            let there = self.remote.columns.iter().find(|there| there.attnum == column.attnum && !there.is_gone);
            match (there, column.state) {
                (None, ColumnState::Live) => {
                    let change = format!("{} was dropped there; its values stay", column.name);
                    let sql =
                        format!("alter table {} alter column {} drop default", self.table(table), quoted(&column.name));
                    self.transaction.batch_execute(&sql).await?;
                    known::note(self.transaction, &self.source.name, &table.relation, &change, None).await?;
                    table.columns[index].state = ColumnState::Gone;
                }
                (None, ColumnState::LeftOut | ColumnState::Held) => table.columns[index].state = ColumnState::Gone,
                (Some(there), ColumnState::Live) if !self.source.takes_column(self.remote, there) => {
                    let sql = format!("alter table {} drop column {}", self.table(table), quoted(&column.name));
                    with_dependents(self.transaction, &self.table(table), std::slice::from_ref(&sql)).await?;
                    let change = format!("{} is left out by the settings, and dropped", column.name);
                    known::note(self.transaction, &self.source.name, &table.relation, &change, Some(&sql)).await?;
                    table.columns[index].state = ColumnState::LeftOut;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn rename_columns(&self, table: &mut KnownTable) -> Result<(), ReplicationError> {
        let mut renamed = Vec::new();
        for (index, column) in table.columns.iter().enumerate() {
            let there = self.remote.columns.iter().find(|there| there.attnum == column.attnum && !there.is_gone);
            if let Some(there) = there.filter(|there| there.name != column.name)
                && column.state == ColumnState::Live
            {
                renamed.push((index, there.name.clone()));
            }
        }
        // Two may exchange their names.
        let is_taken = |table: &KnownTable, name: &String| table.live().any(|column| column.name == *name);
        if renamed.iter().any(|(_, name)| is_taken(table, name)) {
            for (index, _) in &renamed {
                let between = format!("weir_between_{}", table.columns[*index].attnum);
                self.rename_column(table, *index, &between).await?;
            }
        }
        for (index, name) in &renamed {
            self.make_room(table, name).await?;
            self.rename_column(table, *index, name).await?;
        }
        // What is not here has its name there only.
        for column in &mut table.columns {
            let there = self.remote.columns.iter().find(|there| there.attnum == column.attnum && !there.is_gone);
            if let (Some(there), ColumnState::LeftOut | ColumnState::Held) = (there, column.state) {
                column.name.clone_from(&there.name);
            }
        }
        Ok(())
    }

    async fn rename_column(&self, table: &mut KnownTable, index: usize, to: &str) -> Result<(), ReplicationError> {
        let from = table.columns[index].name.clone();
        let sql = format!("alter table {} rename column {} to {}", self.table(table), quoted(&from), quoted(to));
        self.run(table, &format!("{from} is renamed to {to}"), &sql).await?;
        to.clone_into(&mut table.columns[index].name);
        Ok(())
    }

    /// A column that is gone gives up its name.
    async fn make_room(&self, table: &mut KnownTable, name: &str) -> Result<(), ReplicationError> {
        let is_old = |column: &KnownColumn| column.state == ColumnState::Gone && column.name == name;
        let Some(index) = table.columns.iter().position(is_old) else { return Ok(()) };
        let column = &table.columns[index];
        // One that was left out has no place here.
        let exists = "select exists (select from pg_attribute where attrelid = $1::text::regclass and attname = $2
                                        and not attisdropped)";
        let full = self.table(table);
        let values: [Parameter<'_>; 2] = [(&full, Type::TEXT), (&name, Type::TEXT)];
        if self.transaction.query_typed_one(exists, &values).await?.try_get(0)? {
            let aside = format!("weir_gone_{}_{}", column.attnum.unsigned_abs(), self.remote.relid);
            self.rename_column(table, index, &aside).await?;
        }
        Ok(())
    }

    async fn add_column(
        &self,
        table: &mut KnownTable,
        column: &RemoteColumn,
        is_filled: bool,
    ) -> Result<(), ReplicationError> {
        self.make_room(table, &column.name).await?;
        let (full, name, type_) = (self.table(table), quoted(&column.name), types::local(column.type_oid));
        let sql = match &column.missing {
            Some(value) => format!(
                // It stays: the stream may still bring rows from before the column was there.
                "alter table {full} add column {name} {type_} default {}::{type_}",
                literal(value)
            ),
            None => format!("alter table {full} add column {name} {type_}"),
        };
        self.run(table, &format!("{} is added", column.name), &sql).await?;
        table.columns.push(known_column(column, ColumnState::Live));
        if !is_filled {
            self.copy_anew(table, &format!("{} has values that do not come by the stream", column.name));
        }
        Ok(())
    }

    async fn change_type(
        &self,
        table: &mut KnownTable,
        index: usize,
        column: &RemoteColumn,
        is_rewritten: bool,
    ) -> Result<(), ReplicationError> {
        let (old, new) = (table.columns[index].clone(), types::local(column.type_oid));
        if (old.type_oid, old.type_mod) == (column.type_oid, column.type_mod) && old.type_ == new {
            return Ok(());
        }
        if !is_same_type(&old.type_, &new) {
            self.convert(table, &column.name, &new).await?;
        }
        // Also where it only widens: what `using` made of the values, nobody tells.
        if is_rewritten {
            self.copy_anew(table, &format!("{} was converted", column.name));
        }
        let known = &mut table.columns[index];
        (known.type_oid, known.type_mod, known.type_) = (column.type_oid, column.type_mod, new);
        Ok(())
    }

    async fn convert(&self, table: &KnownTable, name: &str, type_: &str) -> Result<(), ReplicationError> {
        let (full, column) = (self.table(table), quoted(name));
        let sql = format!("alter table {full} alter column {column} type {type_} using {column}::text::{type_}");
        self.transaction.batch_execute("savepoint weir_convert").await?;
        match with_dependents(self.transaction, &full, std::slice::from_ref(&sql)).await {
            Ok(_) => self.transaction.batch_execute("release savepoint weir_convert").await?,
            // Values that do not fit: the copy brings others.
            Err(crate::database::dependents::DependentsError::Query(error))
                if error.code().is_some_and(|code| code.code().starts_with("22")) =>
            {
                self.transaction.batch_execute("rollback to savepoint weir_convert").await?;
                let emptied = [format!("truncate {full}"), sql.clone()];
                with_dependents(self.transaction, &full, &emptied).await?;
            }
            Err(error) => return Err(error.into()),
        }
        let change = format!("{name} is {type_} now");
        known::note(self.transaction, &self.source.name, &table.relation, &change, Some(&sql)).await
    }
}

/// PostgreSQL shows some types by longer names.
fn is_same_type(shown: &str, name: &str) -> bool {
    let long = match name.trim_end_matches("[]") {
        "timestamptz" => "timestamp with time zone",
        "timestamp" => "timestamp without time zone",
        "timetz" => "time with time zone",
        "time" => "time without time zone",
        "bpchar" => "character",
        "varbit" => "bit varying",
        same => same,
    };
    shown == name || (shown.trim_end_matches("[]") == long && shown.ends_with("[]") == name.ends_with("[]"))
}

/// By which a table here is known to be the source's.
fn mark(source: &Source, remote: &RemoteTable) -> String {
    format!("weir sync {}: {}", source.name, remote.full_name())
}

fn known_column(column: &RemoteColumn, state: ColumnState) -> KnownColumn {
    KnownColumn {
        attnum: column.attnum,
        name: column.name.clone(),
        type_oid: column.type_oid,
        type_mod: column.type_mod,
        type_: types::local(column.type_oid),
        state,
    }
}
