//! The tables: one file each, with its layout, its statements and what its rows mean.

mod schema_version;

use crate::schema::Table;

/// All of them. The version comes last: if it is there, the others are.
pub(crate) const ALL: &[Table] = &[schema_version::TABLE];
