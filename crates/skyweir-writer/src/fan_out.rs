//! The fan-out of one item: page by page to the shards of those followers whose timelines are enrolled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::join_all;
use skyweir_store::{Delivery, Result, View, Viewers};
use skyweir_types::{ActorId, Item, Reference, TaskId};
use tokio::time::Instant;

use crate::context::Context;
use crate::metrics;
use crate::places::Place;
use crate::shard::Piece;
use crate::tally::{Range, Tally};

/// Pages with fewer references for healthy shards don't wait for their writing.
const WORTH_A_WAIT: usize = 512;

/// Writes an item's references; returns when the last one is readable.
pub(crate) async fn run(
    context: &Context,
    task: TaskId,
    item: &Item,
    view: Arc<dyn View>,
    place: &mut Place,
) -> Result<()> {
    let tally = context.accounting.begin(item.id, context.clock.now_micros());
    context.progress.works(task, Arc::clone(&tally));
    let mut fan_out = FanOut { context, reference: item.reference(), tally, place };
    let own = fan_out.try_send(Range::Own, context.timelines.split(vec![item.author]));
    fan_out.send(Range::Own, own.full).await;
    let mut pages = context.graph.followers(view, item.author);
    let mut pause = context.retry.pause("followers");
    let mut had = 0;
    while !pages.ended() {
        // held for reading and splitting, and until what doesn't wait for a slow shard is written: while a full shard
        // or a failure makes this job wait, the others go on
        let turn = context.turns.take(had).await;
        let begun = Instant::now();
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) => {
                drop(turn);
                pause.after(error).await?;
                continue;
            }
        };
        pause = context.retry.pause("followers");
        had += 1;
        let (range, split) = fan_out.split(page);
        context.work.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        let swept = context.shards.swept();
        let sent = fan_out.try_send(range, split);
        if sent.at_once >= WORTH_A_WAIT && !pages.ended() {
            // else pages, read faster than they are written, would stand in front of everybody's references
            swept.await;
        }
        drop(turn);
        fan_out.send(range, sent.full).await;
        if !pages.ended() {
            // a store that answers at once never makes this job wait: the others get their turns only if it steps back
            tokio::task::yield_now().await;
        }
    }
    fan_out.place.aside(&context.places, 0, fan_out.tally.settled()).await;
    fan_out.tally.finish(context.clock.now_micros());
    Ok(())
}

/// What became of a page's references.
struct Sent {
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
}

impl FanOut<'_> {
    /// Splits a page's enrolled followers by shard. Who follows itself is served as author.
    fn split(&self, mut page: Vec<ActorId>) -> (Range, Vec<(u32, Viewers)>) {
        if let Ok(own) = page.binary_search(&self.reference.author) {
            page.remove(own);
        }
        let followers = page.len();
        let split = self.context.timelines.split(page);
        let enrolled: usize = split.iter().map(|(_, viewers)| viewers.len()).sum();
        if enrolled < followers {
            metrics::hibernating((followers - enrolled) as u64);
        }
        (self.tally.page(followers, followers - enrolled), split)
    }

    /// Queues those of a page's references whose shards have room.
    fn try_send(&self, range: Range, split: Vec<(u32, Viewers)>) -> Sent {
        let Context { shards, .. } = self.context;
        let mut sent = Sent { at_once: 0, full: Vec::new() };
        for (shard, viewers) in split {
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

    fn piece(&self, viewers: Viewers, range: Range) -> Piece {
        let delivery = Delivery { reference: self.reference, viewers };
        Piece { delivery, tally: Arc::clone(&self.tally), range, size: self.place.size }
    }
}
