//! A stand-in for the servers that Skyweir reads from, over real sockets on loopback.

mod archive;
mod chaos;
mod http;
mod log;
mod plan;
mod query;
mod repos;
mod serve;
mod state;
mod stream;
mod xrpc;

use crate::event::Event;
use anyhow::Context;
use chaos::Chaos;
pub use chaos::{ArchiveCounts, ArchiveFaults};
use log::{Item, Live};
pub use repos::{RepositoryCounts, RepositoryFaults};
use serde::{Deserialize, Serialize};
use state::{Shared, State};
pub use state::{SubscriberInfo, Subscribers};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How an [`Upstream`] is set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// The port on 127.0.0.1; default 0, any free one.
    pub port: u16,
    /// The first event's sequence number; default 1, as on a real instance.
    pub first_seq: u64,
    /// How many events are kept at most; the oldest give way, and the floor rises. Default 1,000,000.
    pub log_limit: usize,
    /// How many connections there may be at a time; further ones are closed at once. Default 64.
    pub connection_limit: usize,
    /// The dictionary of `subscribeEvents` and `getZstdDictionary`; default none.
    pub dictionary_v2: Option<Dictionary>,
    /// The dictionary of the legacy `/subscribe?compress=true`, whose id nobody asks for; default none.
    pub dictionary_v1: Option<Dictionary>,
    /// Whether the legacy stream speaks of sequence numbers (a `cursor` on each event, cursors below 10^15), as newer
    /// servers do; default true. Otherwise its cursors are microseconds only.
    pub v1_seq: bool,
    /// How many rows a block of the archive has; default 4,096, as on a real server.
    pub block_rows: usize,
    /// How many blocks a segment of the archive has at most; default 700, about what makes 256 MB.
    pub segment_blocks: usize,
    /// Whether it is a relay or PDS: it has repositories (`listRepos`, `getRepo`) instead of an archive; default false.
    pub repositories: bool,
    /// How many accounts it lists at a time; default 1,000, the most that can be asked for.
    pub listed: usize,
    /// The base URLs of the hosts that have the repositories, in turn, as with a relay that sends those who ask on to
    /// them; default none: it has them itself.
    pub repositories_at: Vec<String>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            port: 0,
            first_seq: 1,
            log_limit: 1_000_000,
            connection_limit: 64,
            dictionary_v2: None,
            dictionary_v1: None,
            v1_seq: true,
            block_rows: 4_096,
            segment_blocks: 700,
            repositories: false,
            listed: 1_000,
            repositories_at: Vec::new(),
        }
    }
}

/// A zstd dictionary: a structured one, or any bytes (a raw one).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dictionary {
    /// The id that clients ask with.
    pub id: u32,
    /// The dictionary.
    pub bytes: Vec<u8>,
}

/// A running stand-in: Jetstream v2, Jetstream v1 and the firehose, all from one log of events.
///
/// Subscribers read from the shared log, so that a slow one costs nothing but its socket. Dropping the object closes
/// all sockets and ends all tasks. All methods that wait return at once when the condition already holds.
#[derive(Debug)]
pub struct Upstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Upstream {
    /// Binds and serves.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(config: UpstreamConfig) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await.context("binding the upstream")?;
        let address = listener.local_addr().context("the upstream's address")?;
        let shared = Arc::new(Shared::new(config));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve::accept(listener, shared.clone(), tasks.clone(), stop.clone()));
        Ok(Self { shared, address, stop, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `ws://…/xrpc/network.bsky.jetstream.subscribeEvents`, without a query.
    pub fn url_v2(&self) -> String {
        format!("ws://{}{}", self.address, serve::PATH_V2)
    }

    /// `ws://…/subscribe`, without a query.
    pub fn url_v1(&self) -> String {
        format!("ws://{}{}", self.address, serve::PATH_V1)
    }

    /// `ws://…/xrpc/com.atproto.sync.subscribeRepos`, without a query.
    pub fn url_firehose(&self) -> String {
        format!("ws://{}{}", self.address, serve::PATH_FIREHOSE)
    }

    /// `http://…`, without a path: the base of the plain requests.
    pub fn url_http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Appends an event to the log and delivers it to all live subscribers; returns its sequence number, which is the
    /// same on all wires.
    pub fn push(&self, event: Event) -> u64 {
        self.change(|state| state.push(event))
    }

    /// Appends events in order; returns the last one's sequence number, nothing when there were none.
    pub fn push_many(&self, events: impl IntoIterator<Item = Event>) -> Option<u64> {
        // one lock an event: a long iterator must not keep subscribers waiting
        events.into_iter().map(|event| self.push(event)).last()
    }

    /// Appends a frame to the firehose alone, under a sequence number of its own (they should rise).
    pub fn push_frame(&self, seq: u64, frame: &[u8]) {
        self.change(|state| state.frames.push_at(seq, Item::Frame(Arc::from(frame))));
    }

    /// From now on the firehose loses what this account does, and its repository has it; `None` ends it.
    pub fn lose(&self, did: Option<&str>) {
        self.change(|state| state.lost = did.map(str::to_owned));
    }

    /// Leaves out `count` sequence numbers: a gap, as compaction leaves them.
    pub fn skip_seqs(&self, count: u64) {
        self.change(|state| state.logs(|log| log.skip(count)));
    }

    /// The last sequence number given; one below the first while there was none.
    pub fn last_seq(&self) -> u64 {
        self.shared.lock().events.next_seq() - 1
    }

    /// Raises (or lowers) the retention floor: what is below it can't be asked for any more.
    pub fn set_floor(&self, seq: u64) {
        self.change(|state| state.logs(|log| log.set_floor(seq)));
    }

    /// Seals all events that aren't yet, and that the log still has, into segments of the archive: `planSnapshot`,
    /// `listSegments`, `getSegment` and `getBlock` serve these. Subscribers notice nothing of it. Returns the archive's
    /// tip.
    pub fn seal(&self) -> u64 {
        self.change(|state| {
            state.seal();
            state.archive.through
        })
    }

    /// Takes from the archive what was replaced or taken away later.
    pub fn compact(&self) {
        self.change(State::compact);
    }

    /// From now on the archive misbehaves; `None` ends it.
    pub fn archive_faults(&self, faults: Option<ArchiveFaults>) {
        self.change(|state| state.chaos = faults.map(Chaos::new));
    }

    /// From now on so many downloads of segments and blocks are answered, the others have to wait (503); `None` ends
    /// it.
    pub fn archive_downloads(&self, most: Option<u64>) {
        self.change(|state| state.downloads = most);
    }

    /// What the archive was asked for, and what went wrong.
    pub fn archive_counts(&self) -> ArchiveCounts {
        self.shared.lock().archived
    }

    /// Waits until the archive's counts are as told.
    pub async fn archived(&self, holds: impl Fn(&ArchiveCounts) -> bool) {
        self.shared.until(|state| holds(&state.archived)).await;
    }

    /// From now on the repositories misbehave; `None` ends it.
    pub fn repository_faults(&self, faults: Option<RepositoryFaults>) {
        self.change(|state| state.repos.misbehave(faults));
    }

    /// What was asked for of the repositories, and what went wrong.
    pub fn repository_counts(&self) -> RepositoryCounts {
        self.shared.lock().repos.counts
    }

    /// Waits until the repositories' counts are as told.
    pub async fn fetched(&self, holds: impl Fn(&RepositoryCounts) -> bool) {
        self.shared.until(|state| holds(&state.repos.counts)).await;
    }

    /// Closes all sockets at once, without a close frame. What was written before is delivered.
    pub fn cut(&self) {
        self.change(State::cut);
    }

    /// Cuts every connection when it has sent so many messages, until called with `None`. Also counts those sent
    /// already.
    pub fn cut_after(&self, messages: Option<u64>) {
        self.change(|state| state.cut_after = messages);
    }

    /// Stops sending without closing: events, pongs, all; or goes on. New connections are still accepted. While silent
    /// nothing is read either, so a subscriber that leaves is counted until the silence ends.
    pub fn silence(&self, silent: bool) {
        self.change(|state| state.silent = silent);
    }

    /// From now on a subscriber that comes with a cursor gets `events` earlier events again (never from below the
    /// floor); 0 ends it.
    pub fn replay_overlap(&self, events: u64) {
        self.change(|state| state.overlap = events);
    }

    /// Answers every request with this HTTP status, for example 503; `None` ends it.
    pub fn refuse(&self, status: Option<u16>) {
        self.change(|state| state.refuse = status);
    }

    /// Answers with this HTTP status when one of these accounts' repositories is asked for, for example 504.
    pub fn refuse_repositories(&self, dids: impl IntoIterator<Item = String>, status: u16) {
        self.change(|state| state.repos.refuse = Some((dids.into_iter().collect(), status)));
    }

    /// Sends a text message to all subscribers connected now, as it stands, whatever their filters. A subscriber with
    /// zstd gets it compressed, one of the firehose as text (a violation of that protocol).
    pub fn raw(&self, text: impl Into<String>) {
        self.live(Live::Text(text.into()));
    }

    /// Sends a binary message to all subscribers connected now, as it stands.
    pub fn raw_binary(&self, bytes: impl Into<Vec<u8>>) {
        self.live(Live::Binary(bytes.into()));
    }

    /// Sends `#info` to all v2 and firehose subscribers connected now.
    pub fn info(&self, name: &str, message: &str) {
        self.live(Live::Info { name: name.to_owned(), message: message.to_owned() });
    }

    /// Sends a terminal error frame (`ConsumerTooSlow`, …) to all subscribers connected now and closes; a legacy
    /// subscriber is cut without a word, as the legacy server does.
    pub fn fail(&self, error: &str, message: &str) {
        self.live(Live::Error { error: error.to_owned(), message: message.to_owned() });
    }

    /// Who is connected, and who was.
    pub fn subscribers(&self) -> Subscribers {
        self.shared.lock().subscribers()
    }

    /// Waits until so many subscriptions in all were accepted since the start.
    pub async fn accepted(&self, total: u64) {
        self.shared.until(|state| state.accepted >= total).await;
    }

    /// Waits until exactly so many subscribers are connected.
    pub async fn connected(&self, count: usize) {
        self.shared.until(|state| state.live.len() == count).await;
    }

    /// Waits until so many requests in all were answered with an HTTP error instead of a stream.
    pub async fn refused(&self, total: u64) {
        self.shared.until(|state| state.refused >= total).await;
    }

    /// Waits until a subscriber's socket has taken everything up to this sequence number (or passed over it by a
    /// filter).
    pub async fn sent(&self, seq: u64) {
        self.shared.until(|state| state.sent_seq >= seq).await;
    }

    /// Closes all and waits for the tasks; dropping does the same without waiting.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn live(&self, live: Live) {
        let live = Arc::new(live);
        self.change(|state| state.logs(|log| log.push_live(live.clone())));
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.shared.change(change)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
    }
}
