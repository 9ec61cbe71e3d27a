//! Private conversions into [`skyweir_store::Error`]: what may pass by itself, and what can't be.

use std::fmt::Display;

use scylla::errors::{
    DbError, ExecutionError, NewSessionError, NextRowError, PrepareError, RequestAttemptError,
};
use skyweir_store::Error;

use crate::config::Config;
use crate::refusal;

/// Something stored can't be what it is.
pub(crate) fn corrupt(what: impl Display) -> Error {
    Error::Corrupt(what.to_string())
}

/// Rows of a table can't be read as what they are.
pub(crate) fn unreadable(table: &str, error: impl Display) -> Error {
    Error::Corrupt(format!("undecodable rows of table {table}: {error}"))
}

/// No session came to be.
pub(crate) fn session(config: &Config, error: &NewSessionError) -> Error {
    let nodes = config.nodes.join(", ");
    Error::Unavailable(match refusal::told(config, error) {
        Some(told) => format!("no CQL node of {nodes} lets us in: {told}"),
        None => {
            format!("no CQL node of {nodes} answers ({error}); start them, or name others in scylla.nodes")
        }
    })
}

/// A statement could not be prepared.
pub(crate) fn prepare(text: &str, error: &PrepareError) -> Error {
    Error::Unavailable(format!(
        "the CQL server refused a statement ({error}): {text}; if it misses a table, apply what `skyweir schema` prints"
    ))
}

/// A statement failed. Whether what it writes was written isn't known then.
pub(crate) fn execution(doing: &str, error: &ExecutionError) -> Error {
    let advice = match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(db, _)) => match db {
            DbError::Unauthorized | DbError::AuthenticationError => {
                "grant the role what docs/scylladb.md names below Passwords and TLS"
            }
            DbError::Unavailable { .. } => {
                "too few copies are up; start the nodes that are down. Where there are fewer nodes than copies, \
                 scylla.replication was too great when the keyspace was made: ALTER KEYSPACE"
            }
            DbError::Overloaded | DbError::RateLimitReached { .. } => "the cluster has too much to do",
            DbError::Invalid | DbError::SyntaxError => "apply what `skyweir schema` prints",
            _ => "look at the log of the server",
        },
        ExecutionError::RequestTimeout(_) => "the cluster has too much to do, or can't be reached",
        ExecutionError::ConnectionPoolError(_) | ExecutionError::EmptyPlan => {
            "no node can be reached; look whether they are up, and at scylla.datacenter"
        }
        _ => "look at the log of the server",
    };
    Error::Unavailable(format!("CQL: {doing}: {error}; {advice}"))
}

/// A table could not be gone through.
pub(crate) fn paging(table: &str, error: impl Display) -> Error {
    Error::Unavailable(format!(
        "CQL: reading all of {table}: {error}; look at the log of the server, and whether the role may read it"
    ))
}

/// The next row of a table did not come, or can't be what it is.
pub(crate) fn next_row(table: &str, error: NextRowError) -> Error {
    match error {
        NextRowError::RowDeserializationError(error) => unreadable(table, error),
        error => paging(table, error),
    }
}

/// Redis failed.
pub(crate) fn redis(doing: &str, error: &redis::RedisError) -> Error {
    Error::Unavailable(format!("Redis: {doing}: {error}; look whether the server of scylla.redis is up"))
}
