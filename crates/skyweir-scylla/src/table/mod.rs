//! The tables: one file each, with its layout, its statements and what its rows mean.

pub(crate) mod enrolled;
pub(crate) mod kept;
mod schema_version;
pub(crate) mod timeline;

use crate::schema::Table;

/// All of them. The version comes last: if it is there, the others are.
pub(crate) const ALL: &[Table] = &[timeline::TABLE, enrolled::TABLE, kept::TABLE, schema_version::TABLE];
