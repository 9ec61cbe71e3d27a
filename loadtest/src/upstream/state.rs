//! What the connections share: the logs, the misbehaviour ordered, and who is connected.

use super::archive::{Archive, Sizes};
use super::chaos::{ArchiveCounts, Chaos};
use super::log::{Item, Log};
use super::repos::Repos;
use super::{Dictionary, UpstreamConfig};
use crate::event::{Body, Event};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zstd::dict::EncoderDictionary;

/// How many subscriptions are remembered.
const REMEMBERED: usize = 64;

/// Who is connected to an upstream, and who was.
#[derive(Clone, Debug)]
pub struct Subscribers {
    /// How many subscribers are connected.
    pub live: usize,
    /// How many subscriptions were accepted since the start.
    pub accepted: u64,
    /// The last 64 subscriptions, the newest last.
    pub recent: Vec<SubscriberInfo>,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberInfo {
    /// Counts from 1.
    pub id: u64,
    /// The path that it came by.
    pub path: &'static str,
    /// Its query as it was sent, without the question mark.
    pub query: String,
}

/// The state, and a bell that rings at each change.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    bell: watch::Sender<()>,
    pub(super) config: UpstreamConfig,
    pub(super) v1: Option<Prepared>,
    pub(super) v2: Option<Prepared>,
}

/// A dictionary ready to compress with.
#[derive(Clone)]
pub(super) struct Prepared(pub(super) Arc<EncoderDictionary<'static>>);

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prepared")
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) events: Log,
    /// The firehose's: the same events, and frames of its own.
    pub(super) frames: Log,
    pub(super) silent: bool,
    pub(super) overlap: u64,
    pub(super) cut_after: Option<u64>,
    pub(super) refuse: Option<u16>,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) sent_seq: u64,
    pub(super) live: BTreeMap<u64, SubscriberInfo>,
    pub(super) archive: Archive,
    pub(super) archived: ArchiveCounts,
    pub(super) chaos: Option<Chaos>,
    /// So many downloads are answered yet.
    pub(super) downloads: Option<u64>,
    pub(super) repos: Repos,
    /// Whose events the firehose loses.
    pub(super) lost: Option<String>,
    /// The greatest rev of each account.
    revs: HashMap<String, Arc<str>>,
    sizes: Sizes,
    recent: VecDeque<SubscriberInfo>,
    /// Cancelled by a cut; connections take the one of their time.
    pub(super) cut: CancellationToken,
}

impl Shared {
    pub(super) fn new(config: UpstreamConfig) -> Self {
        let log = || Log::new(config.first_seq, config.log_limit);
        let state = State {
            events: log(),
            frames: log(),
            silent: false,
            overlap: 0,
            cut_after: None,
            refuse: None,
            accepted: 0,
            refused: 0,
            sent_seq: 0,
            live: BTreeMap::new(),
            archive: Archive::default(),
            archived: ArchiveCounts::default(),
            chaos: None,
            downloads: None,
            repos: Repos::default(),
            lost: None,
            revs: HashMap::new(),
            sizes: Sizes { rows: config.block_rows, blocks: config.segment_blocks },
            recent: VecDeque::new(),
            cut: CancellationToken::new(),
        };
        let prepare = |dictionary: &Option<Dictionary>| {
            let level = zstd::DEFAULT_COMPRESSION_LEVEL;
            dictionary.as_ref().map(|d| Prepared(Arc::new(EncoderDictionary::copy(&d.bytes, level))))
        };
        let (v1, v2) = (prepare(&config.dictionary_v1), prepare(&config.dictionary_v2));
        Self { state: Mutex::new(state), bell: watch::Sender::new(()), config, v1, v2 }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.bell.send_replace(());
        changed
    }

    /// A listener that hears every change from now on.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    pub(super) async fn until(&self, holds: impl Fn(&State) -> bool) {
        let mut bell = self.listen();
        while !holds(&self.lock()) {
            // the sender lives in `self`, so this can only be a change
            let _ = bell.changed().await;
        }
    }
}

impl State {
    pub(super) fn push(&mut self, event: Event) -> u64 {
        let since = self.since(&event);
        let event = Arc::new(event);
        let seq = self.events.push(Item::Event(event.clone(), None));
        if self.lost.as_ref() != Some(&event.did) {
            self.frames.push_at(seq, Item::Event(event, since));
        }
        seq
    }

    /// The rev before this one in its account's repository; none for one that isn't above it.
    fn since(&mut self, event: &Event) -> Option<Arc<str>> {
        let (Body::Commit { rev, .. } | Body::Sync { rev }) = &event.body else { return None };
        match self.revs.get_mut(&event.did) {
            Some(last) if rev.as_str() > &**last => Some(std::mem::replace(last, rev.as_str().into())),
            Some(_) => None,
            None => {
                self.revs.insert(event.did.clone(), rev.as_str().into());
                None
            }
        }
    }

    pub(super) fn logs(&mut self, mut change: impl FnMut(&mut Log)) {
        change(&mut self.events);
        change(&mut self.frames);
    }

    /// Seals what isn't; an event that no segment can hold is a mistake of the test that made it.
    pub(super) fn seal(&mut self) {
        let (log, sizes) = (&self.events, self.sizes);
        self.archive.seal(log.entries(), sizes).expect("events fit into a segment");
    }

    pub(super) fn compact(&mut self) {
        self.archive.compact().expect("what was sealed fits into a segment");
    }

    pub(super) fn cut(&mut self) {
        std::mem::take(&mut self.cut).cancel();
    }

    /// Counts a subscriber in; the caller counts it out.
    pub(super) fn join(&mut self, path: &'static str, query: &str) -> u64 {
        self.accepted += 1;
        let info = SubscriberInfo { id: self.accepted, path, query: query.to_owned() };
        self.live.insert(info.id, info.clone());
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(info);
        self.accepted
    }

    pub(super) fn subscribers(&self) -> Subscribers {
        let recent = self.recent.iter().cloned().collect();
        Subscribers { live: self.live.len(), accepted: self.accepted, recent }
    }
}
