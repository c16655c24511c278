//! The publication has the tables that are asked for, and none that it would do harm.

use super::ReplicationError;
use super::follow::Source;
use super::publisher::{Publisher, RemoteTable, add_tables_sql, remove_table_sql};

/// What is to be done, in order: harm is ended first.
pub struct Plan<'a> {
    pub remove: Vec<&'a RemoteTable>,
    pub add: Vec<&'a RemoteTable>,
    /// Only their owner may.
    pub ask: Vec<&'a RemoteTable>,
}

/// Compares a publication with the settings.
pub fn plan<'a>(source: &Source, remotes: &'a [RemoteTable], version: i32) -> Plan<'a> {
    let (mut remove, mut add, mut ask) = (Vec::new(), Vec::new(), Vec::new());
    for table in remotes {
        let is_good = source.takes(table) && source.objection(table, version).is_none();
        match (table.is_published, is_good) {
            // Others may read this publication, too: what does no harm stays.
            (true, false) if table.objection(version).is_some() => remove.push(table),
            (false, true) if table.is_owned => add.push(table),
            (false, true) => ask.push(table),
            _ => {}
        }
    }
    Plan { remove, add, ask }
}

/// Takes out what does harm; also while weir itself cannot go on.
pub async fn end_harm(publisher: &Publisher, source: &Source, publication: &str) -> Result<(), ReplicationError> {
    let version = publisher.version().await?;
    let remotes = publisher.tables(publication).await?;
    remove(publisher, publication, &plan(source, &remotes, version).remove).await;
    Ok(())
}

/// Returns whether anything was.
async fn remove(publisher: &Publisher, publication: &str, tables: &[&RemoteTable]) -> bool {
    let mut is_changed = false;
    for table in tables {
        let (sql, name) = (remove_table_sql(publication, table), table.full_name());
        match publisher.run(&sql).await {
            Ok(()) => {
                tracing::warn!(table = name, "it is no longer published: the application could not update it");
                is_changed = true;
            }
            Err(error) => {
                tracing::error!(table = name, %error, sql, "the application cannot update a table while it is published: run this there");
            }
        }
    }
    is_changed
}

/// Brings a publication to the settings, as far as the role may; `remotes` say then how it is.
pub async fn publish(
    publisher: &Publisher,
    source: &Source,
    publication: &str,
    remotes: &mut Vec<RemoteTable>,
    version: i32,
) -> Result<(), ReplicationError> {
    let plan = plan(source, remotes, version);
    let mut is_changed = remove(publisher, publication, &plan.remove).await;
    if !plan.add.is_empty() {
        // One by one where they do not go together: one that is locked must not keep the others away.
        match publisher.run(&add_tables_sql(publication, &plan.add)).await {
            Ok(()) => is_changed = true,
            Err(_) => {
                for table in plan.add {
                    match publisher.run(&add_tables_sql(publication, &[table])).await {
                        Ok(()) => is_changed = true,
                        Err(error) => tracing::warn!(table = table.full_name(), %error, "it is not published yet"),
                    }
                }
            }
        }
    }
    if is_changed {
        *remotes = publisher.tables(publication).await?;
    }
    Ok(())
}
