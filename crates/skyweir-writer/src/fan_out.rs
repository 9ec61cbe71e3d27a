//! The fan-out of one item: page by page to the shards of those followers whose timelines are enrolled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::join_all;
use skyweir_store::{Delivery, Reached, Result, Sums, View, Viewers};
use skyweir_types::{ActorId, Item, Reference, TaskId};
use tokio::time::Instant;

use crate::context::Context;
use crate::metrics;
use crate::places::Place;
use crate::shard::Piece;
use crate::tally::{Range, Tally};

/// Pages with fewer references for healthy shards don't wait for their writing.
const WORTH_A_WAIT: usize = 512;
/// Of pages in which less than one follower in so many is enrolled, these are kept until there are enough for a write.
const FEW: usize = 8;
/// But not longer than for so many pages: whoever takes the task over reads those again.
const PAGES_MOST: usize = 64;

/// Writes an item's references, behind those that somebody wrote before; returns when the last one is readable, or
/// false once somebody else has the task.
pub(crate) async fn run(
    context: &Context,
    task: TaskId,
    item: &Item,
    view: Arc<dyn View>,
    before: Option<Reached>,
    place: &mut Place,
) -> Result<bool> {
    let sums = before.map_or_else(Sums::default, |before| before.sums);
    let tally = context.accounting.begin(item.id, context.clock.now_micros(), sums);
    context.progress.works(task, Arc::clone(&tally));
    let reference = item.reference();
    let mut fan_out =
        FanOut { context, reference, tally, place, met: Vec::new(), pages: 0, stretch: 0, end: ActorId(0) };
    let mut own = vec![item.author];
    context.timelines.retain_enrolled(&mut own);
    let own = fan_out.try_send(Range::Own, own);
    fan_out.send(Range::Own, own.full).await;
    let mut pages = context.graph.followers(view, item.author, before.map(|before| before.after));
    let mut pause = context.retry.pause("followers");
    let mut had = 0;
    while !pages.ended() {
        if let Some(reached) = fan_out.tally.reached() {
            context.tasks.reached(task, reached);
        }
        if !context.tasks.is_ours(task) {
            return Ok(false);
        }
        // held for reading and splitting, and until what doesn't wait for a slow shard is written: while a full shard
        // or a failure makes this job wait, the others go on
        let turn = context.turns.take(had).await;
        let begun = Instant::now();
        let page = match pages.next().await {
            Ok(page) => page.unwrap_or_default(),
            Err(error) => {
                drop(turn);
                // whom it met before doesn't wait for the pages
                let sent = fan_out.try_send_met();
                fan_out.send_met(sent).await;
                pause.after(error).await?;
                continue;
            }
        };
        pause = context.retry.pause("followers");
        had += 1;
        let few = fan_out.meet(page);
        context.work.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        let mut met = None;
        if !few || pages.ended() {
            let swept = context.shards.swept();
            let sent = fan_out.try_send_met();
            if sent.at_once >= WORTH_A_WAIT && !pages.ended() {
                // else pages, read faster than they are written, would stand in front of everybody's references
                swept.await;
            }
            met = Some(sent);
        }
        drop(turn);
        if let Some(sent) = met {
            fan_out.send_met(sent).await;
        }
        if !pages.ended() {
            // a store that answers at once never makes this job wait: the others get their turns only if it steps back
            tokio::task::yield_now().await;
        }
    }
    let settled = fan_out.tally.settled(|reached| context.tasks.reached(task, reached));
    fan_out.place.aside(&context.places, 0, settled).await;
    fan_out.tally.finish(context.clock.now_micros());
    Ok(true)
}

/// What became of references that were sent.
#[derive(Default)]
struct Sent {
    /// How many there are.
    enrolled: usize,
    /// How many pieces they make up.
    pieces: usize,
    /// How many are queued for shards that make nobody wait.
    at_once: usize,
    /// Those for which there was no room.
    full: Vec<(u32, Viewers)>,
}

struct FanOut<'a> {
    context: &'a Context,
    reference: Reference,
    tally: Arc<Tally>,
    place: &'a mut Place,
    /// Enrolled followers of pages that were read, still to be sent to.
    met: Vec<ActorId>,
    /// How many pages those were.
    pages: usize,
    /// The number of the stretch that they are of, and its last follower.
    stretch: u32,
    end: ActorId,
}

impl FanOut<'_> {
    /// Accounts for a page, and keeps those of it who are enrolled; whether these are so few that more should be read
    /// before they are sent to. Who follows itself is served as author.
    fn meet(&mut self, mut page: Vec<ActorId>) -> bool {
        let Some(end) = page.last() else { return true };
        self.end = *end;
        self.pages += 1;
        if let Ok(own) = page.binary_search(&self.reference.author) {
            page.remove(own);
        }
        let followers = page.len();
        self.context.timelines.retain_enrolled(&mut page);
        self.stretch = self.tally.page(followers);
        self.hibernate(followers - page.len());
        let few = page.len() < followers / FEW;
        if self.met.is_empty() && !few {
            self.met = page;
        } else {
            self.met.extend_from_slice(&page);
        }
        few && self.met.len() < WORTH_A_WAIT && self.pages < PAGES_MOST
    }

    /// Accounts for followers who are not enrolled.
    fn hibernate(&self, followers: usize) {
        if followers > 0 {
            metrics::hibernating(followers as u64);
            self.tally.hibernating(followers);
        }
    }

    /// As [`FanOut::try_send`], to all who were met. Who has left since then hibernates.
    fn try_send_met(&mut self) -> Sent {
        let met = std::mem::take(&mut self.met);
        self.pages = 0;
        let followers = met.len();
        let sent = self.try_send(Range::Followers(self.stretch), met);
        self.hibernate(followers - sent.enrolled);
        sent
    }

    /// Queues references for those whose shards have room.
    fn try_send(&self, range: Range, viewers: Vec<ActorId>) -> Sent {
        let Context { shards, timelines, .. } = self.context;
        let mut sent = Sent::default();
        for (shard, viewers) in timelines.split(viewers) {
            sent.enrolled += viewers.len();
            sent.pieces += 1;
            match shards.queue(shard).try_room(self.place.size, viewers.len()) {
                Some(room) => {
                    let references = viewers.len();
                    if shards.send(shard, self.piece(viewers, range), room) {
                        sent.at_once += references;
                    }
                }
                None => sent.full.push((shard, viewers)),
            }
        }
        sent
    }

    /// Queues references whose shards were full, each as soon as its shard has room; another job works in the place of
    /// this one meanwhile.
    async fn send(&mut self, range: Range, full: Vec<(u32, Viewers)>) {
        if full.is_empty() {
            return;
        }
        let Context { shards, places, .. } = self.context;
        let held = full.iter().map(|(_, viewers)| viewers.len()).sum();
        let send = |(shard, viewers): (u32, Viewers)| {
            metrics::shard_full();
            // what waits long holds what it counts for, not the page that it is a part of
            let (references, piece) = (viewers.len(), self.piece(viewers.alone(), range));
            async move {
                let room = shards.queue(shard).room(piece.size, references).await;
                shards.send(shard, piece, room);
            }
        };
        let all = join_all(full.into_iter().map(send));
        self.place.aside(places, held, all).await;
        self.place.back(places).await;
    }

    /// As [`FanOut::send`], after [`FanOut::try_send_met`]: a stretch has come to its end.
    async fn send_met(&mut self, sent: Sent) {
        self.send(Range::Followers(self.stretch), sent.full).await;
        self.tally.close(self.end, sent.pieces);
    }

    fn piece(&self, viewers: Viewers, range: Range) -> Piece {
        let delivery = Delivery { reference: self.reference, viewers };
        Piece { delivery, tally: Arc::clone(&self.tally), range, size: self.place.size }
    }
}
