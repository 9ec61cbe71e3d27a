//! Timelines that nobody reads leave, rates follow the high-follow snapshot, references to items that have left are
//! dropped.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use skyweir_graph::HighFollows;
use skyweir_store::{IdleRule, Result};
use skyweir_types::ActorId;

use crate::context::Context;
use crate::{EnrolMode, metrics, upkeep};

/// How many idle timelines are asked for at a time.
const AT_A_TIME: usize = 1_000;
/// References are dropped once the horizon has risen by this, milliseconds: no read needs it sooner.
const DROP_EVERY_MS: i64 = 3_600_000;

/// Looks after idle timelines, rates and the horizon for ever.
///
/// # Errors
/// Corruption only.
pub(crate) async fn run(context: Arc<Context>) -> Result<()> {
    let every = Duration::from_secs(context.config.housekeeping_seconds.max(1));
    let mut snapshot = context.graph.high_follows();
    let mut before = HashSet::new();
    let mut dropped = i64::MIN;
    loop {
        tokio::time::sleep(every).await;
        if context.config.enrol == EnrolMode::Reads {
            hibernate(&context).await?;
        }
        let taken = snapshot.borrow_and_update().clone();
        before = follow_rates(&context, &taken, &before).await?;
        dropped = drop_left(&context, dropped).await?;
    }
}

/// Drops references that the horizon has passed, once it is well above where it was when that was `dropped` last;
/// returns where that is now.
async fn drop_left(context: &Context, dropped: i64) -> Result<i64> {
    let horizon = {
        let view = context.view().await?;
        context.retry.run("horizon", || view.horizon()).await?
    };
    if horizon.saturating_sub(dropped) < DROP_EVERY_MS {
        return Ok(dropped);
    }
    metrics::dropped(context.retry.run("drop", || context.timelines.drop_before(horizon)).await?);
    Ok(horizon)
}

/// Lets idle timelines leave; returns how many.
pub(crate) async fn hibernate(context: &Context) -> Result<u64> {
    let now_ms = context.clock.now_ms();
    let before = |hours: u64| now_ms - i64::try_from(hours).unwrap_or(i64::MAX).saturating_mul(3_600_000);
    let rule = IdleRule {
        read_before_ms: before(context.config.hibernate_hours),
        once_before_ms: before(context.config.hibernate_once_hours),
    };
    let mut left = 0;
    loop {
        let idle = context.retry.run("idle", || context.timelines.idle(rule, AT_A_TIME)).await?;
        let mut moved = false;
        for one in &idle {
            if context.retry.run("leave", || context.timelines.leave(one.viewer, one.generation)).await? {
                moved = true;
                left += 1;
            }
        }
        if idle.len() < AT_A_TIME || !moved {
            metrics::hibernated("idle", left);
            return Ok(left);
        }
    }
}

/// Corrects the rates of those in the snapshot and of those who have left it; returns who is in it.
async fn follow_rates(
    context: &Context,
    taken: &HighFollows,
    before: &HashSet<ActorId>,
) -> Result<HashSet<ActorId>> {
    for (step, (viewer, follows)) in taken.iter().enumerate() {
        upkeep::check_rate(context, viewer, follows).await?;
        if step % 256 == 255 {
            tokio::task::yield_now().await;
        }
    }
    let gone: Vec<_> = before.iter().copied().filter(|viewer| taken.get(*viewer).is_none()).collect();
    for viewer in gone {
        upkeep::check_rate(context, viewer, 0).await?;
    }
    Ok(taken.iter().map(|(viewer, _)| viewer).collect())
}
