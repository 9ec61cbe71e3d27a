//! The tables of a keyspace: their statements, and the version that stands beside them.

use skyweir_store::{Error, Result};

use crate::dialect::Dialect;
use crate::error;
use crate::session::Db;
use crate::table;

/// The version of the tables. A change that older programs can't read, or that needs one of them altered, raises it.
const VERSION: i32 = 1;

/// Seconds for which the server remembers what was removed; replicas that were away longer need a repair before they
/// come back. ScyllaDB's and Cassandra's own default.
const REMEMBER_REMOVED: u32 = 864_000;

/// A table.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Columns and primary key, as in `CREATE TABLE name (…)`.
    pub(crate) columns: &'static str,
    /// As in `CLUSTERING ORDER BY (…)`; empty for the order of the columns.
    pub(crate) order: &'static str,
    /// Whether rows that come back from an absent replica do no harm, so that removed ones needn't be remembered long.
    pub(crate) forgets: bool,
}

impl Table {
    fn statement(&self, keyspace: &str, dialect: Dialect) -> String {
        let Self { name, columns, order, .. } = self;
        let order =
            if order.is_empty() { String::new() } else { format!("CLUSTERING ORDER BY ({order}) AND ") };
        let remember = if self.forgets { 3_600 } else { REMEMBER_REMOVED };
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({columns}) WITH {order}compaction = {} \
             AND gc_grace_seconds = {remember}",
            dialect.compaction()
        )
    }
}

/// The statements that make a keyspace with so many copies of each row, and all its tables.
#[must_use]
pub fn statements(keyspace: &str, replication: u8, dialect: Dialect) -> Vec<String> {
    let keyspace_itself = format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replication}}}"
    );
    let tables = table::ALL.iter().map(|table| table.statement(keyspace, dialect));
    std::iter::once(keyspace_itself).chain(tables).collect()
}

/// Makes what isn't there, if that is allowed, and refuses tables of another version.
pub(crate) async fn prepare(db: &Db, replication: u8, create: bool) -> Result<()> {
    let keyspace = db.keyspace();
    if create && !has_version_table(db).await? {
        // who made the keyspace beforehand needn't let us make others
        let made = usize::from(has_keyspace(db).await?);
        for statement in &statements(keyspace, replication, db.dialect())[made..] {
            db.define(statement).await?;
        }
    } else if !has_version_table(db).await? {
        return Err(Error::Unavailable(format!(
            "keyspace {keyspace} has no tables of ours; apply what `skyweir schema` prints, or let an indexer \
             make them (scylla.create)"
        )));
    }
    let text = format!("SELECT version FROM {keyspace}.schema_version WHERE id = 0");
    match db
        .ask(&text)
        .await?
        .maybe_first_row::<(i32,)>()
        .map_err(|e| error::unreadable("schema_version", e))?
    {
        Some((VERSION,)) => Ok(()),
        Some((other,)) => Err(Error::Unavailable(format!(
            "keyspace {keyspace} has tables of version {other}, this program those of version {VERSION}; \
             run the program that made them, or name another keyspace in scylla.keyspace"
        ))),
        // whoever made the tables ended before this, or applied the statements by hand
        None => {
            let text = format!("INSERT INTO {keyspace}.schema_version (id, version) VALUES (0, {VERSION})");
            db.define(&text).await
        }
    }
}

async fn has_keyspace(db: &Db) -> Result<bool> {
    let keyspace = db.keyspace();
    let text =
        format!("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = '{keyspace}'");
    Ok(db.ask(&text).await?.rows_num() > 0)
}

/// It is made last: if it is there, all are.
async fn has_version_table(db: &Db) -> Result<bool> {
    let keyspace = db.keyspace();
    let text = format!(
        "SELECT table_name FROM system_schema.tables \
         WHERE keyspace_name = '{keyspace}' AND table_name = 'schema_version'"
    );
    Ok(db.ask(&text).await?.rows_num() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_made_last() {
        for dialect in [Dialect::Scylla, Dialect::Cassandra] {
            let statements = statements("ks", 1, dialect);
            assert!(statements[0].starts_with("CREATE KEYSPACE IF NOT EXISTS ks "));
            assert!(statements.last().unwrap().contains(" ks.schema_version "));
            assert_eq!(statements.len(), table::ALL.len() + 1);
        }
    }

    #[test]
    fn names_are_taken_once() {
        let names: std::collections::BTreeSet<_> = table::ALL.iter().map(|table| table.name).collect();
        assert_eq!(names.len(), table::ALL.len());
    }
}
