//! Random operations on timelines.

use std::cmp::Reverse;

use skyweir_types::{ActorId, DidHash, Generation, ItemId, Reference, TaskId, UriHash};

use super::{ACTORS, Random};
use crate::{Counts, Delivery, Enrolment, IdleRule, Timelines, Viewers};

/// How many items there are; an item has one time and one author for ever.
const ITEMS: u64 = 120;
/// Time goes on by this with each step.
const STEP_US: i64 = 10_000_000;

/// One call.
pub(super) enum CacheStep {
    Apply(Vec<Reference>, Vec<ActorId>),
    Fill(ActorId, Vec<Reference>, i64),
    Purge(ActorId, ActorId, Vec<ItemId>),
    DropBefore(i64),
    Read(ActorId, i64, usize),
    Touch(ActorId, i64),
    Begin(ActorId, f32, i64),
    /// Publishes or leaves, of whatever generation there is or the one before it.
    Publish(ActorId, bool, Vec<Reference>, i64),
    Leave(ActorId, bool),
    LowerRate(ActorId, f32),
    Idle(IdleRule),
    Checkpoint(TaskId),
}

fn reference(n: u64) -> Reference {
    let author = ActorId((n % 4) as u32);
    Reference { item: ItemId(n), sort_at: (n * 7_919 % 53) as i64 - 9, uri_hash: UriHash(n * n), author }
}

/// Some items, newest first.
fn references(random: &mut Random, most: u64, fits: impl Fn(&Reference) -> bool) -> Vec<Reference> {
    let n = random.below(most);
    let mut found: Vec<_> = (0..n).map(|_| reference(random.below(ITEMS))).filter(fits).collect();
    found.sort_by_key(|reference| Reverse((reference.sort_at, reference.item)));
    found.dedup();
    found
}

fn floor(random: &mut Random) -> i64 {
    if random.one_in(2) { i64::MIN } else { random.below(53) as i64 - 9 }
}

impl CacheStep {
    pub(super) fn random(random: &mut Random, at: u64) -> Self {
        let (viewer, now_us) = (random.actor(), at as i64 * STEP_US);
        match random.below(42) {
            0..12 => {
                let viewers = (0..random.below(6)).map(|_| random.actor()).collect();
                Self::Apply(references(random, 6, |_| true), viewers)
            }
            12..16 => {
                let author = ActorId(random.below(4) as u32);
                Self::Fill(viewer, references(random, 30, |one| one.author == author), floor(random))
            }
            16..19 => {
                let author = ActorId(random.below(4) as u32);
                let items = references(random, 60, |one| one.author == author);
                Self::Purge(viewer, author, items.iter().map(|one| one.item).collect())
            }
            19..25 => Self::Read(viewer, random.below(60) as i64 - 12, random.below(8) as usize),
            25 if random.one_in(2) => Self::DropBefore(random.below(50) as i64 - 9),
            25 | 26 => Self::Touch(viewer, now_us / 1_000),
            27..31 => Self::Begin(viewer, [1.0, 0.5, 0.2][random.below(3) as usize], now_us),
            31..35 => {
                Self::Publish(viewer, !random.one_in(5), references(random, 20, |_| true), floor(random))
            }
            35 => Self::Leave(viewer, !random.one_in(3)),
            36 => Self::LowerRate(viewer, [0.7, 0.4, 0.1][random.below(3) as usize]),
            37 | 38 => {
                let ago = |random: &mut Random| (now_us - random.below(100) as i64 * STEP_US) / 1_000;
                let (read_before_ms, once_before_ms) = (ago(random), ago(random));
                Self::Idle(IdleRule { read_before_ms, once_before_ms })
            }
            _ => Self::Checkpoint(TaskId(at)),
        }
    }

    pub(super) async fn run(&self, timelines: &dyn Timelines) -> String {
        let said = match self {
            Self::Apply(references, viewers) => format!("{:?}", apply(timelines, references, viewers).await),
            Self::Fill(viewer, references, floor) => {
                format!("{:?}", timelines.fill(*viewer, references, *floor).await.unwrap())
            }
            Self::Purge(viewer, author, items) => {
                timelines.purge(*viewer, *author, items).await.unwrap().to_string()
            }
            Self::DropBefore(sort_at) => format!("{:?}", timelines.drop_before(*sort_at).await),
            Self::Read(viewer, from_ms, n) => read(timelines, *viewer, *from_ms, *n).await,
            Self::Touch(viewer, now_ms) => format!("{:?}", timelines.touch(*viewer, *now_ms)),
            Self::Begin(viewer, rate, now_us) => {
                let did_hash = DidHash(viewer.0.into());
                let enrolment = Enrolment { did_hash, rate: *rate, now_us: *now_us };
                format!("{:?}", timelines.begin(*viewer, enrolment).await.unwrap())
            }
            Self::Publish(viewer, this, references, floor) => {
                let generation = generation(timelines, *viewer, *this).await;
                let published = timelines.publish(*viewer, generation, references, *floor, 7).await;
                format!("published: {}", published.unwrap())
            }
            Self::Leave(viewer, this) => {
                let generation = generation(timelines, *viewer, *this).await;
                format!("left: {}", timelines.leave(*viewer, generation).await.unwrap())
            }
            Self::LowerRate(viewer, rate) => {
                format!("{:?}", timelines.lower_rate(*viewer, *rate).await.unwrap())
            }
            Self::Idle(rule) => {
                let mut idle = timelines.idle(*rule, 1_000).await.unwrap();
                idle.sort_by_key(|one| one.viewer);
                format!("{idle:?}")
            }
            Self::Checkpoint(kept) => format!("{:?}", timelines.checkpoint(*kept).await.unwrap()),
        };
        format!("{said}\n{}", everything(timelines).await)
    }
}

/// The generation that a timeline has, or the number below it.
async fn generation(timelines: &dyn Timelines, viewer: ActorId, this: bool) -> Generation {
    use crate::CachedState::{Filling, In, Out};
    let now = match timelines.read(viewer, 0, 0).await.unwrap().state {
        Out => 1,
        Filling(generation) => generation.0,
        In(info) => info.generation.0,
    };
    Generation(now - u64::from(!this))
}

async fn apply(timelines: &dyn Timelines, references: &[Reference], viewers: &[ActorId]) -> Vec<Counts> {
    let mut sums = vec![Counts::default(); references.len()];
    for shard in 0..timelines.shards() {
        let own = viewers.iter().filter(|viewer| timelines.shard_of(**viewer) == shard);
        let viewers: Viewers = own.copied().collect();
        let delivery = |reference: &Reference| Delivery { reference: *reference, viewers: viewers.clone() };
        let deliveries: Vec<_> = references.iter().map(delivery).collect();
        let counts = timelines.apply(shard, &deliveries).await.unwrap();
        assert_eq!(counts.len(), sums.len());
        sums.iter_mut().zip(counts).for_each(|(sum, one)| *sum += one);
    }
    sums
}

/// A read, with the free order inside a millisecond made one.
async fn read(timelines: &dyn Timelines, viewer: ActorId, from_ms: i64, n: usize) -> String {
    let mut cached = timelines.read(viewer, from_ms, n).await.unwrap();
    assert!(cached.entries.is_sorted_by_key(|entry| Reverse(entry.sort_at)));
    cached.entries.sort_by_key(|entry| Reverse((entry.sort_at, entry.item)));
    format!("{cached:?}")
}

/// All timelines.
async fn everything(timelines: &dyn Timelines) -> String {
    let mut said = format!("{} enrolled\n", timelines.enrolled());
    for viewer in (0..ACTORS).map(ActorId) {
        said += &format!("{viewer}: {}\n", read(timelines, viewer, i64::MAX, usize::MAX).await);
    }
    said
}
