//! What ScyllaDB and Apache Cassandra don't have in common.

/// Which server answers. Columns and statements are alike for both; options of tables aren't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// ScyllaDB.
    Scylla,
    /// Apache Cassandra 5, for machines where ScyllaDB can't run.
    Cassandra,
}

impl Dialect {
    /// The statement whose answer has a row on ScyllaDB only.
    pub(crate) const PROBE: &str = "SELECT table_name FROM system_schema.tables \
        WHERE keyspace_name = 'system' AND table_name = 'scylla_local'";

    /// How the files of a table are merged: both keep space and reads bounded under inserts that never end.
    pub(crate) fn compaction(self) -> &'static str {
        match self {
            Self::Scylla => "{'class': 'IncrementalCompactionStrategy'}",
            Self::Cassandra => "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}",
        }
    }
}
