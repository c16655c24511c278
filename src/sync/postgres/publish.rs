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

/// Brings a publication to the settings, as far as the role may; `remotes` say then how it is.
pub async fn publish(
    publisher: &Publisher,
    source: &Source,
    publication: &str,
    remotes: &mut [RemoteTable],
    version: i32,
) -> Result<(), ReplicationError> {
    let plan = plan(source, remotes, version);
    let mut done = Vec::new();
    for table in plan.remove {
        let sql = remove_table_sql(publication, table);
        match publisher.run(&sql).await {
            Ok(()) => {
                tracing::warn!(
                    table = table.full_name(),
                    "it is no longer published: the application could not update it"
                );
                done.push((table.relid, false));
            }
            Err(error) => {
                let table = table.full_name();
                tracing::error!(table, %error, sql, "the application cannot update a table while it is published: run this there");
            }
        }
    }
    if !plan.add.is_empty() {
        // One by one where they do not go together: one that is locked must not keep the others away.
        match publisher.run(&add_tables_sql(publication, &plan.add)).await {
            Ok(()) => done.extend(plan.add.iter().map(|table| (table.relid, true))),
            Err(_) => {
                for table in plan.add {
                    match publisher.run(&add_tables_sql(publication, &[table])).await {
                        Ok(()) => done.push((table.relid, true)),
                        Err(error) => tracing::warn!(table = table.full_name(), %error, "it is not published yet"),
                    }
                }
            }
        }
    }
    for (relid, is_published) in done {
        if let Some(table) = remotes.iter_mut().find(|table| table.relid == relid) {
            table.is_published = is_published;
        }
    }
    Ok(())
}
