//! Why a read has no answer, by what the caller can do about it.

use skyweir_types::{CursorError, SyntaxError};
use thiserror::Error;

/// A request could not be answered.
#[derive(Debug, Error)]
pub enum Error {
    /// The cursor is none of ours; begin without one.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The cursor of a page of the graph is none of ours; begin without one.
    #[error("malformed cursor: expected the one that the last response gave")]
    GraphCursor,
    /// The limit is below zero.
    #[error("negative limit: expected 0 for the default, or how many entries a page holds at most")]
    Limit,
    /// An actor isn't named by a DID.
    #[error("malformed actor: {0}")]
    Actor(#[from] SyntaxError),
    /// A record isn't named by an AT-URI with a DID and one of our collections.
    #[error("malformed uri: expected at://<did>/app.bsky.feed.post/<key> or its like for a repost")]
    Uri,
    /// There is no such item now.
    #[error("no such item: the record is unknown, deleted, or not a post or repost")]
    NoItem,
    /// The item's accounting isn't kept here.
    #[error("no accounting of this item is kept by this instance")]
    NoDelivery,
    /// Too many requests of this kind run already; try again.
    #[error("overloaded: {0} requests run already")]
    Overloaded(usize),
    /// It took too long; try again.
    #[error("timed out after {0} ms")]
    TimedOut(u64),
    /// The store has no answer.
    #[error(transparent)]
    Store(#[from] skyweir_store::Error),
}

/// The server could not go on.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listening socket or the protocol stack failed.
    #[error("gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The embedded interface description could not be read: a fault of the build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}
