//! The merge: a timeline read from the feeds of its authors, newest first, as its definition says.
//!
//! Feeds are opened only when they can win: authors are tried in the order of their newest item, so that a first
//! page of a thousand follows opens a handful of feeds.

use std::collections::BinaryHeap;

use skyweir_types::{ActorId, DidHash, DrawKey, ItemId, Position, UriHash};

use crate::{FeedAsk, FeedEntry, Result, View};

/// How many feeds are opened in one call at first; it doubles up to [`OPEN_MOST`].
const OPEN_FIRST: usize = 8;
const OPEN_MOST: usize = 256;
/// How many entries a feed is asked for at a time.
const CHUNK_FIRST: usize = 8;
const CHUNK_MOST: usize = 128;
/// How many follows are read at a time.
const FOLLOWS_PAGE: usize = 10_000;

/// The viewer's luck.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Key of the draw.
    pub key: DrawKey,
    /// Hash of the viewer's DID.
    pub viewer: DidHash,
    /// The share of references to keep.
    pub rate: f32,
}

/// What a merge comes past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Whose item.
    pub author: ActorId,
    /// The item, and where it stands.
    pub entry: FeedEntry,
    /// Whether the timeline has it. What the draw leaves out is told all the same, so that a caller can tell what the
    /// merge costs.
    pub kept: bool,
}

/// A merge under way. It holds the heads of the feeds that it opened.
pub struct Merge<'v> {
    view: &'v dyn View,
    viewer: ActorId,
    sampling: Sampling,
    from: Position,
    /// Authors not yet opened, the one with the newest item last.
    waiting: Vec<(i64, ActorId)>,
    heap: BinaryHeap<Head>,
    open: Vec<Feed>,
    open_next: usize,
}

struct Feed {
    author: ActorId,
    /// Oldest first: the next one is popped from the end.
    buffer: Vec<FeedEntry>,
    exhausted: bool,
    chunk: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    position: Position,
    item: ItemId,
    feed: usize,
}

impl<'v> Merge<'v> {
    /// Begins a merge of what stands strictly after `from` in the timeline of `viewer`. Account states are not looked
    /// at: only answers do that.
    ///
    /// # Errors
    /// Whatever the view answers.
    pub async fn begin(
        view: &'v dyn View,
        viewer: ActorId,
        sampling: Sampling,
        from: Position,
    ) -> Result<Self> {
        let mut waiting = Vec::new();
        let mut after = None;
        loop {
            let mut page = view.follows(viewer, after, FOLLOWS_PAGE).await?;
            let last = page.len() < FOLLOWS_PAGE;
            after = page.last().copied();
            page.retain(|author| *author != viewer);
            let infos = view.accounts(&page).await?;
            waiting.extend(page.iter().zip(&infos).map(|(author, info)| (info.newest, *author)));
            if last {
                break;
            }
        }
        waiting.push((view.accounts(&[viewer]).await?[0].newest, viewer));
        waiting.retain(|(newest, _)| *newest > i64::MIN);
        waiting.sort_unstable();
        let heap = BinaryHeap::new();
        Ok(Self { view, viewer, sampling, from, waiting, heap, open: Vec::new(), open_next: OPEN_FIRST })
    }

    /// The next entry, kept by the draw or not; `None` at the end of the timeline.
    ///
    /// # Errors
    /// Whatever the view answers; the merge is of no use after that.
    pub async fn next(&mut self) -> Result<Option<Merged>> {
        self.open_what_can_win().await?;
        let Some(head) = self.heap.pop() else { return Ok(None) };
        let author = self.open[head.feed].author;
        self.advance(head.feed).await?;
        let uri = UriHash(head.position.uri_hash);
        let kept =
            author == self.viewer || self.sampling.key.keeps(uri, self.sampling.viewer, self.sampling.rate);
        Ok(Some(Merged { author, entry: FeedEntry { position: head.position, item: head.item }, kept }))
    }

    async fn open_what_can_win(&mut self) -> Result<()> {
        loop {
            let top = self.heap.peek().map(|head| head.position.sort_at);
            let can_win = |newest: i64| top.is_none_or(|top| newest.min(self.from.sort_at) >= top);
            let mut asks = Vec::new();
            while asks.len() < self.open_next
                && self.waiting.last().is_some_and(|(newest, _)| can_win(*newest))
            {
                let (_, author) = self.waiting.pop().expect("looked at just now");
                asks.push(FeedAsk { author, after: self.from });
            }
            if asks.is_empty() {
                return Ok(());
            }
            self.open_next = (self.open_next * 2).min(OPEN_MOST);
            let answers = self.view.feeds(&asks, CHUNK_FIRST).await?;
            for (ask, mut buffer) in asks.iter().zip(answers) {
                let exhausted = buffer.len() < CHUNK_FIRST;
                buffer.reverse();
                if let Some(first) = buffer.pop() {
                    self.heap.push(Head {
                        position: first.position,
                        item: first.item,
                        feed: self.open.len(),
                    });
                    self.open.push(Feed { author: ask.author, buffer, exhausted, chunk: CHUNK_FIRST });
                }
            }
        }
    }

    async fn advance(&mut self, index: usize) -> Result<()> {
        let feed = &mut self.open[index];
        if feed.buffer.len() == 1 && !feed.exhausted {
            let last = feed.buffer[0];
            feed.chunk = (feed.chunk * 2).min(CHUNK_MOST);
            let ask = FeedAsk { author: feed.author, after: last.position };
            let mut more = self.view.feeds(&[ask], feed.chunk).await?.pop().unwrap_or_default();
            feed.exhausted = more.len() < feed.chunk;
            more.reverse();
            more.push(last);
            feed.buffer = more;
        }
        if let Some(next) = feed.buffer.pop() {
            self.heap.push(Head { position: next.position, item: next.item, feed: index });
        }
        Ok(())
    }
}
