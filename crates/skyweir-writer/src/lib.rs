//! Fan-out: jobs, sampling, shard queues, enrolment, accounting, done and kept.
//!
//! [`Writer::run`] takes tasks from the log, in their order. Each becomes a job that takes turns with the others, page
//! by page; references go through the bounded queue of their shard, and what has come from all jobs is written in one
//! call. [`Handle`] is how reads ask for enrolment and see what became of an item.

mod accounting;
mod candidates;
mod checkpoint;
mod config;
mod context;
mod dispatch;
mod enrolment;
mod fan_out;
mod handle;
mod hibernation;
mod hot;
mod job;
mod memory;
pub mod metrics;
mod places;
mod progress;
mod retry;
mod shard;
mod sweep;
mod tally;
mod turns;
mod upkeep;
mod wishes;
mod writer;

pub use config::{Config, EnrolMode};
pub use handle::Handle;
pub use hot::{HotReport, HotShard, HotTimeline};
pub use progress::Lag;
pub use writer::{Deps, Error, Writer};
