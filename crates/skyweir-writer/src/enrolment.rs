//! New generations: a timeline first takes every insert, then is filled by the merge, then answers.

use std::slice::from_ref;
use std::sync::Arc;

use skyweir_store::{CachedState, EnrolReason, Enrolment, Merge, Merged, Result, Sampling, View};
use skyweir_types::{ActorId, DidHash, Generation, Position, Reference, UriHash, rate_for, rate_is_off};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::wishes::Wish;
use crate::{memory, metrics};

/// How many timelines share one view.
const TOGETHER: usize = 32;
/// How many accounts are looked at in one step when all are enrolled.
const STRIDE: u32 = 10_000;

/// A timeline that takes inserts already.
struct Filling {
    viewer: ActorId,
    generation: Generation,
    sampling: Sampling,
    why: EnrolReason,
    begun: Instant,
}

/// Grants wishes for ever.
///
/// # Errors
/// Corruption only.
pub(crate) async fn grant(context: Arc<Context>) -> Result<()> {
    loop {
        let wishes = context.wishes.take(TOGETHER).await;
        let viewers: Vec<_> = wishes.iter().map(|(viewer, _)| *viewer).collect();
        let done = together(&context, wishes).await;
        context.wishes.granted(&viewers);
        done?;
    }
}

async fn together(context: &Context, wishes: Vec<(ActorId, Wish)>) -> Result<()> {
    // what another process has begun meanwhile isn't begun again
    context.refresh().await?;
    let before = context.view().await?;
    let mut filling = Vec::with_capacity(wishes.len());
    for (viewer, wish) in wishes {
        match wish {
            Wish::Lower(rate) => match rate_of(context, &*before, viewer).await {
                Ok(right) => {
                    // a wish of another process may be old: not below what is right by now
                    let rate = rate.max(right);
                    context.retry.run("lower_rate", || context.timelines.lower_rate(viewer, rate)).await?;
                    metrics::rate_lowered();
                }
                Err(error @ skyweir_store::Error::Corrupt(_)) => return Err(error),
                // nor is this tried again here: a view isn't answered for ever
                Err(error) => {
                    tracing::warn!(%error, "a timeline's rate could not be lowered, its next read wishes again");
                }
            },
            Wish::Enrol(why) => match begin(context, &*before, viewer, why).await {
                Ok(begun) => filling.extend(begun),
                Err(error @ skyweir_store::Error::Corrupt(_)) => return Err(error),
                Err(error) => {
                    // not tried again here: unreadable rows of some would hold up all others
                    tracing::warn!(%error, "a timeline could not be enrolled, its next read wishes again");
                    metrics::generation(label(why), "failed");
                }
            },
        }
    }
    if filling.is_empty() {
        return Ok(());
    }
    // asked after all have begun: what a fan-out left out because they weren't enrolled yet has a task by now
    let newest = context.retry.run("newest", || context.tasks.newest()).await?;
    let view = context.view_after(newest).await?;
    for one in filling {
        publish(context, &*view, one).await?;
    }
    Ok(())
}

/// The rate of a timeline's draw.
async fn rate_of(context: &Context, view: &dyn View, viewer: ActorId) -> Result<f32> {
    let infos = view.accounts(from_ref(&viewer)).await?;
    Ok(rate_for(infos.first().map_or(0, |info| info.follows), context.config.reasonable_limit))
}

/// Begins a generation, if the reason still holds.
async fn begin(
    context: &Context,
    view: &dyn View,
    viewer: ActorId,
    why: EnrolReason,
) -> Result<Option<Filling>> {
    if viewer.0 >= view.actor_count().await? {
        // the view is from before there was such an account: its next read wishes again
        return Ok(None);
    }
    let rate = rate_of(context, view, viewer).await?;
    let mut cached = context.timelines.read(viewer, i64::MIN, 0).await?;
    if why == EnrolReason::Read && matches!(cached.state, CachedState::In(_)) {
        // who wishes has found none: it may have ended, and nobody told so
        cached = context.timelines.read(viewer, i64::MAX, 0).await?;
    }
    let wanted = match (why, cached.state) {
        (EnrolReason::Read, CachedState::Out) => true,
        (EnrolReason::RateRose, CachedState::In(info)) => rate_is_off(info.rate, rate) && rate > info.rate,
        (EnrolReason::FloorHigh, CachedState::In(info)) => {
            let age_ms = context.clock.now_ms() - info.since_ms;
            age_ms >= i64::try_from(context.config.repair_seconds).unwrap_or(i64::MAX).saturating_mul(1_000)
        }
        _ => false,
    };
    if !wanted {
        return Ok(None);
    }
    if !memory::admits(context, viewer, why) {
        metrics::generation(label(why), "refused");
        return Ok(None);
    }
    let begun = Instant::now();
    let did = view.dids(from_ref(&viewer)).await?;
    let did_hash = did.first().map(|did| DidHash::of(did.as_str())).unwrap_or_default();
    // an answer that is lost would leave the timeline filling for ever; each attempt has its own time, as others give a
    // generation up that is old
    let attempt = || {
        let enrolment = Enrolment { did_hash, rate, now_us: context.clock.now_micros() };
        context.timelines.begin(viewer, enrolment)
    };
    let generation = context.retry.run("begin", attempt).await?;
    let sampling = Sampling { key: context.config.draw, viewer: did_hash, rate };
    Ok(Some(Filling { viewer, generation, sampling, why, begun }))
}

/// Merges up to a cap of references and publishes them. What fails leaves, to be enrolled by its next read.
async fn publish(context: &Context, view: &dyn View, filling: Filling) -> Result<()> {
    let Filling { viewer, generation, sampling, why, begun } = filling;
    let outcome = match merge(context, view, viewer, sampling).await {
        Ok((references, floor)) => {
            let now_ms = context.clock.now_ms();
            context.timelines.publish(viewer, generation, &references, floor, now_ms).await
        }
        Err(error) => Err(error),
    };
    let outcome = match outcome {
        Ok(true) => {
            metrics::published(begun.elapsed().as_secs_f64());
            "published"
        }
        Ok(false) => "superseded",
        Err(error @ skyweir_store::Error::Corrupt(_)) => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "a timeline could not be filled, it leaves");
            context.retry.run("leave", || context.timelines.leave(viewer, generation)).await?;
            "failed"
        }
    };
    metrics::generation(label(why), outcome);
    Ok(())
}

/// The newest references of a timeline, at most a cap of them, and the floor above which they are all.
async fn merge(
    context: &Context,
    view: &dyn View,
    viewer: ActorId,
    sampling: Sampling,
) -> Result<(Vec<Reference>, i64)> {
    let mut merge = Merge::begin(view, viewer, sampling, Position::TOP).await?;
    let mut references = Vec::new();
    let mut seen = 0;
    while let Some(Merged { author, entry, kept }) = merge.next().await? {
        seen += 1;
        if seen % 64 == 0 {
            tokio::task::yield_now().await;
        }
        if !kept {
            continue;
        }
        let sort_at = entry.position.sort_at;
        if references.len() == context.config.cap {
            return Ok((references, sort_at));
        }
        let uri_hash = UriHash(entry.position.uri_hash);
        references.push(Reference { item: entry.item, sort_at, uri_hash, author });
    }
    Ok((references, i64::MIN))
}

/// With `enrol = "all"`: enrols every account, those that are new too.
///
/// # Errors
/// Corruption only.
pub(crate) async fn all(context: Arc<Context>, stop: CancellationToken) -> Result<()> {
    let mut next_task = context.tasks.next();
    let mut known = 0;
    loop {
        next_task.borrow_and_update();
        let view = context.view().await?;
        let count = context.retry.run("actor_count", || view.actor_count()).await?;
        while known < count {
            let end = count.min(known + STRIDE);
            let mut enrolled: Vec<_> = (known..end).map(ActorId).collect();
            context.timelines.retain_enrolled(&mut enrolled);
            let enrolled: std::collections::HashSet<_> = enrolled.into_iter().collect();
            for viewer in (known..end).map(ActorId).filter(|viewer| !enrolled.contains(viewer)) {
                context.wishes.push_wait(viewer, Wish::Enrol(EnrolReason::Read)).await;
            }
            known = end;
        }
        // an account's first items or follows come with tasks
        match stop.run_until_cancelled(next_task.changed()).await {
            Some(Ok(())) => {}
            _ => return Ok(()),
        }
    }
}

fn label(why: EnrolReason) -> &'static str {
    match why {
        EnrolReason::Read => "read",
        EnrolReason::RateRose => "rate_rose",
        EnrolReason::FloorHigh => "floor_high",
    }
}
