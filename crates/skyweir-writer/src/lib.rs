//! Fan-out: jobs, sampling, shard queues, enrolment, accounting, done and kept.

mod config;
mod handle;
pub mod metrics;
mod writer;

pub use config::{Config, EnrolMode};
pub use handle::Handle;
pub use writer::{Deps, Error, Writer};
