//! The memory budget: over it the least useful timelines hibernate, and near it only those that come again get in.

use std::sync::Arc;
use std::time::Duration;

use skyweir_store::{EnrolReason, MemoryUse, Result};
use skyweir_types::ActorId;

use crate::context::Context;
use crate::metrics;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);
/// What was read within so many milliseconds leaves last.
const RECENT_MS: i64 = 60_000;
/// How many timelines are chosen in one walk over all.
const AT_A_TIME: usize = 16_384;

/// How much of the budget is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// There is room for everybody.
    None,
    /// Nine tenths are taken: as far as it goes down again when something has to leave.
    Some,
    /// A thirty-second part or less is left: something has to leave.
    High,
}

impl Pressure {
    pub(crate) fn of(memory: MemoryUse) -> Self {
        let MemoryUse { bytes, budget } = memory;
        if bytes > budget - budget / 32 {
            Self::High
        } else if bytes > low(budget) {
            Self::Some
        } else {
            Self::None
        }
    }
}

fn low(budget: u64) -> u64 {
    budget - budget / 10
}

/// Looks after the budget for ever.
///
/// # Errors
/// Corruption only.
pub(crate) async fn run(context: Arc<Context>) -> Result<()> {
    loop {
        tokio::time::sleep(LOOK).await;
        if Pressure::of(context.timelines.memory()) == Pressure::High {
            evict(&context).await?;
        }
    }
}

/// Lets the least useful timelines leave until a tenth of the budget is free.
async fn evict(context: &Context) -> Result<()> {
    let mut left = 0;
    loop {
        let MemoryUse { bytes, budget } = context.timelines.memory();
        let over = bytes.saturating_sub(low(budget));
        let recent_ms = context.clock.now_ms() - RECENT_MS;
        let least = || context.timelines.least_useful(recent_ms, over, AT_A_TIME);
        let least = context.retry.run("least_useful", least).await?;
        let before = left;
        for (step, one) in least.iter().enumerate() {
            let leave = || context.timelines.leave(one.viewer, one.generation);
            left += u64::from(context.retry.run("leave", leave).await?);
            if step % 256 == 255 {
                tokio::task::yield_now().await;
            }
        }
        if left == before {
            metrics::hibernated("memory", left);
            tracing::debug!(
                timelines.left = left,
                memory.bytes = bytes,
                "over the memory budget, timelines left"
            );
            return Ok(());
        }
    }
}

/// Whether a new generation may begin, by the memory that is left.
pub(crate) fn admits(context: &Context, viewer: ActorId, why: EnrolReason) -> bool {
    match (Pressure::of(context.timelines.memory()), why) {
        (Pressure::None, _) | (_, EnrolReason::RateRose) | (Pressure::Some, EnrolReason::FloorHigh) => true,
        // room is being made; and a floor that the budget keeps high stays so
        (Pressure::High, EnrolReason::FloorHigh) => false,
        (pressure, EnrolReason::Read) => {
            context.candidates.comes_again(viewer, context.clock.now_ms()) && pressure < Pressure::High
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_rises_in_steps() {
        for (bytes, budget, pressure) in [
            (0, 0, Pressure::None),
            (900, 1_000, Pressure::None),
            (901, 1_000, Pressure::Some),
            (969, 1_000, Pressure::Some),
            (970, 1_000, Pressure::High),
            (2_000, 1_000, Pressure::High),
            (1 << 40, u64::MAX, Pressure::None),
        ] {
            assert_eq!(Pressure::of(MemoryUse { bytes, budget }), pressure, "{bytes} of {budget}");
        }
    }
}
