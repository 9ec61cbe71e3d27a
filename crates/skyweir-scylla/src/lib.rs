//! The store of a cluster: records and timelines as CQL rows, in ScyllaDB or in Apache Cassandra, and the task log as
//! a Redis Stream, whose consumer group shares the tasks among writers.
//!
//! One indexer at a time writes records, by a lease; any number of processes read them. A transaction is one entry of
//! a journal, committed by one lightweight transaction on the lease; what follows from it is written after that, and
//! again by whoever opens the store if nobody did. Rows carry the sequence number of the transaction that brought them
//! and of the one that took them away, so that a view shows one moment.

mod access;
mod base;
mod cluster;
mod codec;
mod config;
mod dialect;
mod entry;
mod error;
mod group;
mod hold;
mod lease;
mod log;
mod metrics;
mod moment;
mod password;
mod reader;
mod redis_link;
mod refusal;
mod remembered;
mod schema;
mod session;
mod settle;
mod store;
mod table;
mod timelines;
mod tls;
mod txn;
mod view;
mod wishes;

pub use cluster::Cluster;
pub use config::Config;
pub use dialect::Dialect;
pub use group::Group;
pub use lease::Lease;
pub use metrics::describe as describe_metrics;
pub use password::{Password, check_login};
pub use reader::ScyllaReader;
pub use schema::statements as schema_statements;
pub use session::check_keyspace;
pub use store::ScyllaStore;
pub use timelines::{Rows, RowsConfig, RowsReader};
pub use wishes::{RemoteEnrol, take_wishes};
