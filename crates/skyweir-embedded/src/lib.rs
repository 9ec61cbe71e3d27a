//! The one-machine store: fjall for records, rings in memory for timelines.
//!
//! [`EmbeddedStore`] keeps accounts, records, items, feeds, edges and the task log in one fjall database; a
//! transaction is one batch, synced before it shows. [`Rings`] keeps the timelines in memory: derived data, made
//! durable by checkpoints, filled again when these are lost. [`check()`] verifies a data directory.

mod accounts;
mod bits;
mod blocking;
mod bulk;
mod cache;
mod check;
mod codec;
mod config;
mod db;
mod error;
mod hinted;
mod lock;
pub mod metrics;
mod overlay;
mod packed;
mod remembered;
mod rings;
mod store;
mod table;
mod txn;
mod view;

pub use bulk::{Bulk, BulkProgress, Written};
pub use check::{Finding, Holdings, Report, check};
pub use config::{Config, RingsConfig};
pub use rings::Rings;
pub use store::EmbeddedStore;
