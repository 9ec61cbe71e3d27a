//! Follower pages, follow counts and the high-follow snapshot.

mod graph;
pub mod metrics;

pub use graph::{Config, Error, Graph};
