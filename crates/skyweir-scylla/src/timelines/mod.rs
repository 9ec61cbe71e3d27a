//! Timelines as rows: what decides about a reference is known in memory, the references are at the server.
//!
//! One process writes: it knows generation, floor, rate and about the length of each enrolled timeline, so fan-out asks
//! nothing before it writes. What changes those takes turns, timeline by timeline; references are written beside it,
//! as their generation's time makes them harmless where they come too late.

mod calls;
mod change;
mod config;
mod enrolments;
mod held;
mod layout;
mod line;
mod lines;
mod open;
mod partitions;
mod read;
mod reader;
mod sender;
mod topology;
mod window;

use std::sync::Arc;

use skyweir_types::{DrawKey, TaskId};

pub use config::RowsConfig;
pub use reader::RowsReader;

use self::enrolments::Enrolments;
use self::line::Lengths;
use self::lines::Lines;
use self::partitions::Partitions;
use self::sender::Sender;
use self::topology::Topology;
use crate::session::Db;

/// The timelines of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Rows {
    inner: Arc<Inner>,
}

struct Inner {
    db: Arc<Db>,
    lines: Lines,
    partitions: Partitions,
    enrolments: Enrolments,
    sender: Sender,
    topology: Topology,
    draw: DrawKey,
    lengths: Lengths,
    trims_at_once: usize,
    memory_bytes: u64,
    restored: TaskId,
}
