#![doc = include_str!("../README.md")]

mod dagcbor;
mod encode;
mod event;
mod firehose;
mod harness;
mod network;
mod prng;
mod repository;
mod segment;
mod time;
mod upstream;

pub use dagcbor::{cid_of, encode_dag_cbor};
pub use event::{Body, Event, Operation};
pub use firehose::{firehose_error, firehose_info};
pub use harness::{GenerateOptions, NetworkOptions, RunOptions, generate, run};
pub use network::{Network, NetworkEvents, NetworkSpec};
pub use repository::{Block, Repository};
pub use segment::{ArchiveBlock, ArchiveRow, ArchiveSegment};
pub use time::{rfc3339_micros, rfc3339_millis, tid};
pub use upstream::{
    ArchiveCounts, ArchiveFaults, Dictionary, RepositoryCounts, RepositoryFaults, SubscriberInfo,
    Subscribers, Upstream, UpstreamConfig,
};
