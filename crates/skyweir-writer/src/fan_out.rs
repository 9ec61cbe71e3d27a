//! The fan-out of one item: page by page to the shards of those followers whose timelines are enrolled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use skyweir_store::{Delivery, Result, View, Viewers};
use skyweir_types::{ActorId, Item, Reference};
use tokio::time::Instant;

use crate::context::Context;
use crate::metrics;
use crate::shard::Piece;
use crate::tally::{Range, Tally};

/// Writes an item's references; returns when the last one is readable.
pub(crate) async fn run(context: &Context, item: &Item, view: Arc<dyn View>) -> Result<()> {
    let fan_out = FanOut {
        context,
        reference: item.reference(),
        tally: context.accounting.begin(item.id, context.clock.now_micros()),
    };
    fan_out.send(Range::Own, context.timelines.split(vec![item.author])).await;
    let mut pages = context.graph.followers(view, item.author);
    let mut pause = context.retry.pause("followers");
    while !pages.ended() {
        // held for reading and splitting only: while a full shard or a failure makes this job wait, the others go on
        let turn = context.turns.acquire().await;
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
        let (range, split) = fan_out.split(page);
        context.work.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        drop(turn);
        fan_out.send(range, split).await;
        // a store that answers at once never makes this job wait: the others get their turns only if it steps back
        tokio::task::yield_now().await;
    }
    fan_out.tally.settled().await;
    fan_out.tally.finish(context.clock.now_micros());
    Ok(())
}

struct FanOut<'a> {
    context: &'a Context,
    reference: Reference,
    tally: Arc<Tally>,
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
        metrics::hibernating((followers - enrolled) as u64);
        (self.tally.page(followers, followers - enrolled), split)
    }

    async fn send(&self, range: Range, split: Vec<(u32, Viewers)>) {
        for (shard, viewers) in split {
            let delivery = Delivery { reference: self.reference, viewers };
            let piece = Piece { delivery, tally: Arc::clone(&self.tally), range };
            self.context.shards[shard as usize].send(piece).await;
        }
    }
}
