//! The page barrier, emulated: all pieces of a page are written before the next page is read.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use skyweir_graph::FollowerPages;
use skyweir_store::{Delivery, HookedTimelines, Store as _, Timelines, View};
use skyweir_types::{ActorId, ItemId, Reference, UriHash};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Schedule, SlowShards};
use crate::crowd::CELEBRITY;
use crate::rng::Rng;
use crate::served::Served;

/// Fans out past the writer, which has no barrier. Milliseconds of each of the celebrity's fan-outs.
pub(super) fn post(served: &mut Served, slow: &Arc<SlowShards>, lasts: Duration) -> Result<Vec<f64>> {
    let mut schedule = Schedule::new(served, lasts);
    let hook = Arc::clone(slow);
    let timelines: Arc<dyn Timelines> = Arc::new(HookedTimelines::new(Arc::new(served.rings.clone()), hook));
    let mut rng = Rng::new(71);
    let Served { io, crowd, store, graph, .. } = served;
    io.block_on(async {
        let view: Arc<dyn View> = store.view().await?.into();
        let mut jobs = JoinSet::new();
        while let Some(author) = schedule.next().await {
            let sort_at = crowd.take_ms();
            // an item that no table holds: nobody is shown it
            let reference = Reference {
                item: ItemId(u64::MAX - sort_at as u64),
                sort_at,
                uri_hash: UriHash(rng.any()),
                author: ActorId(author),
            };
            jobs.spawn(fan_out(
                graph.followers(view.clone(), reference.author, None),
                timelines.clone(),
                reference,
            ));
        }
        let mut all = Vec::new();
        while let Some(done) = jobs.join_next().await {
            let (author, took) = done??;
            if author.0 == CELEBRITY {
                all.push(took);
            }
        }
        Ok(all)
    })
}

async fn fan_out(
    mut pages: FollowerPages,
    timelines: Arc<dyn Timelines>,
    reference: Reference,
) -> Result<(ActorId, f64)> {
    let began = Instant::now();
    while let Some(page) = pages.next().await? {
        let mut pieces = JoinSet::new();
        for (shard, viewers) in timelines.split(page) {
            let timelines = Arc::clone(&timelines);
            pieces.spawn(async move { timelines.apply(shard, &[Delivery { reference, viewers }]).await });
        }
        while let Some(written) = pieces.join_next().await {
            written??;
        }
    }
    Ok((reference.author, began.elapsed().as_secs_f64() * 1e3))
}
