//! What an operator can set. Every limit of the read API is here.

use serde::Deserialize;

use crate::{UpstreamHttp, UpstreamUrl};

/// Settings of the read API: `[api]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Accounts that follow more than this many others see a sample (default 2,000). The writer has to use the same;
    /// set by `[timeline]`.
    #[serde(skip)]
    pub reasonable_limit: u32,
    /// How many references a timeline keeps (default 800). The writer has to use the same; set by `[timeline]`. Only
    /// decides when a timeline with a high floor asks for repair: at less than half of it.
    #[serde(skip)]
    pub cap: usize,
    /// How many references one timeline request looks at (default 5,000). Beyond that it answers a short page with a
    /// cursor. A whole millisecond of references is looked at in one step, so a request may go over it by that.
    pub scan_limit: usize,
    /// How many timelines are merged at once (default 16): what isn't cached is read from the feeds of all whom the
    /// viewer follows. More wait, in the order of asking, until their time is over; three quarters of `max_requests` may
    /// have or want a merge, further ones are answered `UNAVAILABLE` at once.
    pub merges_at_once: usize,
    /// How many requests run at once (default 1,024). More are answered `UNAVAILABLE` at once.
    pub max_requests: usize,
    /// How many connections are open at once (default 1,024). More wait in the kernel's backlog.
    pub max_connections: usize,
    /// How many requests one connection may have open at once (default 256).
    pub max_streams: u32,
    /// After this many milliseconds a request is answered `UNAVAILABLE` (default 5,000).
    pub timeout_ms: u64,
    /// The largest request in bytes (default 65,536).
    pub max_request_bytes: usize,
    /// How many bytes of DIDs one page of followers or follows holds at most (default 3 MiB, because clients refuse
    /// messages over 4 MiB unless told otherwise); it ends there with a cursor.
    pub max_page_bytes: usize,
    /// A silent connection is probed after this many milliseconds, and closed after as many again (default 20,000); one
    /// that never spoke HTTP/2 is closed by then, too. That to upstream, over HTTP/2, is probed after half of this and
    /// given up after the other half, by default before `upstream_timeout_ms` ends the calls on it.
    pub keepalive_ms: u64,
    /// At shutdown, how long open requests may take to finish, milliseconds (default 10,000).
    pub drain_ms: u64,
    /// An existing data plane, `http://HOST:PORT` (default none): calls of `bsky.Service` that aren't ours are passed
    /// on to it, all but `GetTimeline`, `GetFollowers` and `GetFollows`. Without it they are `UNIMPLEMENTED`.
    pub upstream: Option<UpstreamUrl>,
    /// Which HTTP upstream speaks, `"1.1"` or `"2"` (the default).
    pub upstream_http: UpstreamHttp,
    /// Whether ours are passed upstream as well as long as not all follows are known (default true). Cursors of
    /// followers and follows don't outlive a change of that: either side refuses those of the other.
    pub upstream_until_complete: bool,
    /// How many calls are passed on at once (default 1,024). More are answered `UNAVAILABLE` at once. They don't count
    /// as `max_requests`. Over HTTP/2 up to 128 KiB of each answer wait in memory while its client doesn't read, of
    /// all together at most 2 GiB.
    pub upstream_requests: usize,
    /// How many connections to upstream are open at once over HTTP/1.1, where each serves one call at a time (default
    /// 256); more calls wait, in the order of asking. Over HTTP/2 one connection serves all.
    pub upstream_connections: usize,
    /// After this many milliseconds a call that is passed on is cut off, and `UNAVAILABLE` (default 30,000). A
    /// deadline of the client's own is passed on, and ends it before. It ends upstream also while the client doesn't
    /// read.
    pub upstream_timeout_ms: u64,
    /// How many bytes a request or an answer has at most that is passed on (default 32 MiB); a larger one is cut off,
    /// and `RESOURCE_EXHAUSTED`.
    pub upstream_max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reasonable_limit: 2_000,
            cap: 800,
            scan_limit: 5_000,
            merges_at_once: 16,
            max_requests: 1_024,
            max_connections: 1_024,
            max_streams: 256,
            timeout_ms: 5_000,
            max_request_bytes: 64 << 10,
            max_page_bytes: 3 << 20,
            keepalive_ms: 20_000,
            drain_ms: 10_000,
            upstream: None,
            upstream_http: UpstreamHttp::default(),
            upstream_until_complete: true,
            upstream_requests: 1_024,
            upstream_connections: 256,
            upstream_timeout_ms: 30_000,
            upstream_max_bytes: 32 << 20,
        }
    }
}
