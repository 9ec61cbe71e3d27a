//! Why the graph ended, and how a store's errors cross the wire: one map to statuses, and one back.

use std::error::Error as _;

use thiserror::Error;
use tonic::{Code, Status};

/// Why the graph, or a server of it, ended against its will.
#[derive(Debug, Error)]
pub enum Error {
    /// The store is corrupt.
    #[error(transparent)]
    Store(#[from] skyweir_store::Error),
    /// The protocol stack of a server failed.
    #[error("the server of the follower graph failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// What a server answers.
pub(crate) fn status(error: skyweir_store::Error) -> Status {
    match error {
        skyweir_store::Error::Corrupt(what) => {
            tracing::error!(error = what, "the follower graph met corrupt data");
            Status::data_loss(what)
        }
        error @ (skyweir_store::Error::Unavailable(_) | skyweir_store::Error::Limit(_)) => {
            Status::unavailable(error.to_string())
        }
    }
}

/// What a client makes of it.
pub(crate) fn store_error(server: impl std::fmt::Display, status: &Status) -> skyweir_store::Error {
    let mut what = status.message().to_owned();
    // that a connection failed is the message, why it did is below it
    let mut cause = status.source();
    while let Some(deeper) = cause.and_then(|error| error.source()) {
        cause = Some(deeper);
    }
    if let Some(cause) = cause {
        what = format!("{what}: {cause}");
    }
    match status.code() {
        Code::DataLoss => skyweir_store::Error::Corrupt(format!("{what}, as {server} tells")),
        code => skyweir_store::Error::Unavailable(format!("{server} answers {code:?}: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use skyweir_store::Error as Store;

    use super::*;

    #[test]
    fn corruption_stays_corruption_and_all_else_may_pass() {
        let back = |error| store_error("graph:1", &status(error));
        assert!(
            matches!(back(Store::Corrupt("x".into())), Store::Corrupt(what) if what == "x, as graph:1 tells")
        );
        for error in [Store::Unavailable("x".into()), Store::Limit("x".into())] {
            assert!(matches!(back(error), Store::Unavailable(what) if what.starts_with("graph:1 answers")));
        }
        for status in [Status::internal("x"), Status::unimplemented("x"), Status::deadline_exceeded("x")] {
            assert!(matches!(store_error("graph:1", &status), Store::Unavailable(_)));
        }
    }
}
