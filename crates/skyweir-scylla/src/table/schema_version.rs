//! Which version the tables of the keyspace have. Row 0 is the only one.

use crate::schema::Table;

pub(super) const TABLE: Table =
    Table { name: "schema_version", columns: "id int PRIMARY KEY, version int", order: "", forgets: false };
