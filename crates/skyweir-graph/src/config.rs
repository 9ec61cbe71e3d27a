//! What can be set, with its limits and defaults.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::Address;

/// Settings of the follower graph: `[graph]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Accounts that follow more than this many others are in the snapshot. Shared with the writer and the API; set by
    /// `[timeline]`.
    #[serde(skip)]
    pub reasonable_limit: u32,
    /// How many followers a page holds, 1 to 100,000 (default 10,000); of a server: at most.
    pub page: usize,
    /// The high-follow snapshot is taken anew after this many seconds, at least 1 (default 60).
    pub snapshot_seconds: u64,
    /// How many accounts the snapshot holds at most (default 1,000,000); the rates of further ones are corrected when
    /// they are read.
    pub snapshot_most: usize,
    /// Servers of the graph, each `"HOST:PORT"` (default none: the writer reads pages from the store itself). They have
    /// to serve the same store: accounts are named by its numbers. One that fails is asked last for a few seconds.
    pub remote: Vec<Address>,
    /// How many streams of pages that nobody reads from at the moment are kept open, 1 to 65,536 (default 256); each
    /// holds up to 128 KiB. Of more, the one that has waited the longest is closed, and opened again at its page when
    /// that is wanted.
    pub remote_streams: usize,
    /// Where this process serves its graph to others, as in `"127.0.0.1:7702"` (default nowhere). Only for Skyweir's
    /// own processes: whoever reaches it may ask for all follows. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// How many connections a server has open at once, 1 to 65,536 (default 256). More wait in the kernel's backlog.
    pub max_connections: usize,
    /// How many streams a server has open at once, 1 to 1,000,000 (default 2,048). More are answered `UNAVAILABLE`; a
    /// writer has up to `remote_streams` and a few. Each that its client doesn't read holds one view, one page and what
    /// the client's window takes.
    pub max_streams: usize,
    /// How many pages a server reads from the store at the same time, for all streams, 1 to 65,536 (default 64).
    pub pages_at_once: usize,
    /// After this many milliseconds without an answer a page is given up, by the server and by who asked it, 1 or more
    /// (default 10,000); another server is asked, or it is tried again.
    pub timeout_ms: u64,
    /// A silent connection between graph and writer is probed after this many milliseconds, and closed after as many
    /// again, 100 or more (default 5,000).
    pub keepalive_ms: u64,
    /// At shutdown, how long a server's answers may take to end, milliseconds (default 2,000). Streams end at once, and
    /// go on elsewhere.
    pub drain_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reasonable_limit: 2_000,
            page: 10_000,
            snapshot_seconds: 60,
            snapshot_most: 1_000_000,
            remote: Vec::new(),
            remote_streams: 256,
            listen: None,
            max_connections: 256,
            max_streams: 2_048,
            pages_at_once: 64,
            timeout_ms: 10_000,
            keepalive_ms: 5_000,
            drain_ms: 2_000,
        }
    }
}
