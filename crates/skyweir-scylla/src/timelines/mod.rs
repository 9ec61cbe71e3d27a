//! Timelines as rows: what decides about a reference is known in memory, the references are at the server.
//!
//! Each process that writes knows generation, floor, rate and about the length of each enrolled timeline, so fan-out
//! asks nothing before it writes. What changes those takes turns, timeline by timeline; references are written beside
//! it, as their generation's time makes them harmless where they come too late. What begins, is published, leaves or
//! gets another rate is written, then told to all processes, this one too: they learn it from the news alone.

mod calls;
mod change;
mod config;
mod enrolments;
mod held;
mod layout;
mod learn;
mod line;
mod lines;
mod news;
mod open;
mod partitions;
mod read;
mod reader;
mod reads;
mod sender;
mod topology;
mod touches;
mod window;

use std::sync::Arc;
use std::time::Duration;

use skyweir_types::{Clock, DrawKey, TaskId};
use tokio::task::JoinSet;

pub use config::RowsConfig;
pub use reader::RowsReader;
pub(crate) use reads::Reads;
pub(crate) use touches::{TELL, Touches};

use self::enrolments::Enrolments;
use self::learn::Learnt;
use self::line::Lengths;
use self::lines::Lines;
use self::news::Stream;
use self::partitions::Partitions;
use self::sender::Sender;
use self::topology::Topology;
use crate::session::Db;

/// The timelines of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Rows {
    inner: Arc<Inner>,
    /// Reads the news as long as somebody has the timelines.
    _upkeep: Arc<JoinSet<()>>,
}

struct Inner {
    db: Arc<Db>,
    lines: Lines,
    partitions: Partitions,
    enrolments: Enrolments,
    sender: Sender,
    topology: Topology,
    stream: Stream,
    learnt: Learnt,
    reads: Reads,
    touches: Touches,
    clock: Clock,
    /// The pause between two loads of all lines.
    reload: Duration,
    filling_ms: u64,
    draw: DrawKey,
    lengths: Lengths,
    trims_at_once: usize,
    memory_bytes: u64,
    restored: TaskId,
}
