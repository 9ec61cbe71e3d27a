//! What a follow and an unfollow do to one timeline: fills bring the author's recent items, purges free their room.

use std::sync::Arc;

use skyweir_store::{CachedState, EnrolReason, FeedAsk, FeedEntry, Result, View};
use skyweir_types::{ActorId, Position, Reference, UriHash, rate_for, rate_is_off};

use crate::context::Context;
use crate::metrics;
use crate::wishes::Wish;

/// How many entries of a feed are read at a time.
const CHUNK: usize = 256;

/// Brings an author's recent items into a viewer's timeline, as far down as the timeline's floor and at most a cap of
/// them; what is older is below the floor then.
pub(crate) async fn fill(
    context: &Context,
    mut view: Arc<dyn View>,
    viewer: ActorId,
    author: ActorId,
) -> Result<()> {
    let Some(floor) = floor_of(context, viewer).await? else { return Ok(()) };
    let (entries, below) = recent(context, &mut view, author, floor).await?;
    let reference = |entry: &FeedEntry| Reference {
        item: entry.item,
        sort_at: entry.position.sort_at,
        uri_hash: UriHash(entry.position.uri_hash),
        author,
    };
    let references: Vec<_> = entries.iter().map(reference).collect();
    context.retry.run("fill", || context.timelines.fill(viewer, &references, below)).await?;
    correct_rate(context, &mut view, viewer).await
}

/// Takes an author's items out of a viewer's timeline, unless the edge is back.
pub(crate) async fn purge(
    context: &Context,
    mut view: Arc<dyn View>,
    viewer: ActorId,
    author: ActorId,
) -> Result<()> {
    let Some(floor) = floor_of(context, viewer).await? else { return Ok(()) };
    let (entries, _) = recent(context, &mut view, author, floor).await?;
    let items: Vec<_> = entries.iter().map(|entry| entry.item).collect();
    let purged = context.retry.run("purge", || context.timelines.purge(viewer, author, &items)).await?;
    metrics::purged(purged);
    correct_rate(context, &mut view, viewer).await
}

/// The floor of a timeline that takes references; `None` when it isn't enrolled.
async fn floor_of(context: &Context, viewer: ActorId) -> Result<Option<i64>> {
    let cached = context.retry.run("read", || context.timelines.read(viewer, i64::MIN, 0)).await?;
    Ok(match cached.state {
        CachedState::Out => None,
        CachedState::Filling(_) => Some(i64::MIN),
        CachedState::In(info) => Some(info.floor),
    })
}

/// The author's items above a floor, newest first, at most a cap of them; and the `sortAt` of the next one, if there
/// is one above the floor, else the least there is.
async fn recent(
    context: &Context,
    view: &mut Arc<dyn View>,
    author: ActorId,
    floor: i64,
) -> Result<(Vec<FeedEntry>, i64)> {
    let cap = context.config.cap;
    let mut found: Vec<FeedEntry> = Vec::new();
    loop {
        let after = found.last().map_or(Position::TOP, |last| last.position);
        let asks = [FeedAsk { author, after }];
        let asked = |view: Arc<dyn View>| async move { view.feeds(&asks, CHUNK).await };
        let mut page = context.ask("feeds", view, asked).await?.pop().unwrap_or_default();
        let ended = page.len() < CHUNK || page.last().is_some_and(|last| last.position.sort_at <= floor);
        page.retain(|entry| entry.position.sort_at > floor);
        found.append(&mut page);
        if found.len() > cap {
            let below = found[cap].position.sort_at;
            found.truncate(cap);
            return Ok((found, below));
        }
        if ended {
            return Ok((found, i64::MIN));
        }
    }
}

/// Follows and unfollows change the rate that a timeline should have: a lower one is set at once, a higher one takes a
/// new generation.
async fn correct_rate(context: &Context, view: &mut Arc<dyn View>, viewer: ActorId) -> Result<()> {
    let asked = |view: Arc<dyn View>| async move { view.accounts(&[viewer]).await };
    let infos = context.ask("accounts", view, asked).await?;
    let follows = infos.first().map_or(0, |info| info.follows);
    check_rate(context, viewer, follows).await
}

/// See [`correct_rate`]; for a known number of follows.
pub(crate) async fn check_rate(context: &Context, viewer: ActorId, follows: u32) -> Result<()> {
    let wanted = rate_for(follows, context.config.reasonable_limit);
    let cached = context.retry.run("read", || context.timelines.read(viewer, i64::MIN, 0)).await?;
    if let CachedState::In(info) = cached.state
        && rate_is_off(info.rate, wanted)
    {
        if wanted < info.rate {
            context.retry.run("lower_rate", || context.timelines.lower_rate(viewer, wanted)).await?;
            metrics::rate_lowered();
        } else {
            context.wishes.offer(viewer, Wish::Enrol(EnrolReason::RateRose));
        }
    }
    Ok(())
}
