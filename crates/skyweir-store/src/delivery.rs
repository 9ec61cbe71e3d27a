//! What became of an item's fan-out, as its accounting tells (contract, rule 26).

use skyweir_types::ItemId;

/// The accounting of one item. Once finished, followers = written + below the floor + sampled out + hibernating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryReport {
    /// How many followers the pages of the fan-out held so far.
    pub followers: u64,
    /// The author's own timeline was served; it counts in none of the sums.
    pub own: bool,
    /// References that are readable in the cache.
    pub written: u64,
    /// References below their timeline's floor: the merge finds them.
    pub below_floor: u64,
    /// References lost to the draw.
    pub sampled_out: u64,
    /// Followers whose timeline isn't enrolled: the merge finds the item.
    pub hibernating: u64,
    /// References whose write failed and is being tried again; zero once finished.
    pub failed: u64,
    /// How many pages of followers were read so far.
    pub pages: u32,
    /// Every reference is readable or accounted for.
    pub finished: bool,
    /// When the fan-out began, microseconds since 1970.
    pub started_us: i64,
    /// When it finished, microseconds since 1970; 0 before that.
    pub finished_us: i64,
}

/// Whoever keeps the accounting of recent items.
pub trait Deliveries: Send + Sync {
    /// The accounting of an item; `None` if it is not (or no longer) kept here.
    fn delivery(&self, item: ItemId) -> Option<DeliveryReport>;
}
