//! Two stores, the same random operations, the same answers.

mod cache;
mod records;

use skyweir_types::{ActorId, TaskId};

use self::cache::CacheStep;
use self::records::{Write, look, transact};
use super::kit::intern;
use super::{Home, Memory, Opened, Subject};
use crate::{Shape, View};

/// How many accounts there are.
const ACTORS: u32 = 10;

/// A small generator: the same seed, the same numbers, for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn actor(&mut self) -> ActorId {
        ActorId(self.below(ACTORS.into()) as u32)
    }
}

/// One operation on both.
enum Step {
    /// Writes, and whether they are committed.
    Transact(Vec<Write>, bool),
    /// Questions to a view, drawn from this seed.
    Look(u64),
    /// Takes a view that later steps look at again.
    Keep,
    /// Questions to the view that was kept, drawn from this seed.
    LookBack(u64),
    TrimTasks(TaskId),
    Cache(CacheStep),
    /// With so many shards. The cap stays: how long what a smaller one trims may come back is a store's own affair.
    Restart(u32),
}

impl Step {
    fn random(random: &mut Random, at: u64) -> Self {
        match random.below(100) {
            0..25 => {
                let writes = (0..1 + random.below(6)).map(|_| Write::random(random)).collect();
                Self::Transact(writes, !random.one_in(6))
            }
            25..32 => Self::Look(random.next()),
            32..34 => Self::Keep,
            34..37 => Self::LookBack(random.next()),
            37..39 => Self::TrimTasks(TaskId(random.below(at))),
            39..41 => Self::Restart(1 + random.below(5) as u32),
            _ => Self::Cache(CacheStep::random(random, at)),
        }
    }

    /// Does it, and says what there was to see.
    async fn run(&self, judged: &mut Judged, subject: &dyn Subject, shape: Shape) -> String {
        let on = judged.opened.as_ref().expect("open between the steps");
        match self {
            Self::Transact(writes, commit) => transact(&*on.store, writes, *commit).await,
            Self::Look(seed) => look(&*on.store.view().await.unwrap(), &mut Random(*seed)).await,
            Self::Keep => {
                judged.kept = Some(on.store.view().await.unwrap());
                String::new()
            }
            Self::LookBack(seed) => match &judged.kept {
                Some(view) => look(&**view, &mut Random(*seed)).await,
                None => String::new(),
            },
            Self::TrimTasks(kept) => format!("{:?}", on.store.trim_tasks(*kept).await),
            Self::Cache(step) => step.run(&*on.timelines).await,
            Self::Restart(shards) => {
                // numbers that a dropped transaction used up may come again after a restart
                transact(&*on.store, &[Write::Item { author: ActorId(0), n: 0, sort_at: 0 }], true).await;
                *judged = Judged::default();
                let on = judged.opened.insert(subject.open(Shape { shards: *shards, ..shape }).await);
                format!("{:?} {}", on.timelines.restored(), on.timelines.enrolled())
            }
        }
    }
}

/// A store at work, and a view that is older than what was done since.
#[derive(Default)]
struct Judged {
    opened: Option<Opened>,
    kept: Option<Box<dyn View>>,
}

/// Does the same `steps` random operations with a subject and with the in-memory reference, restarts included, and
/// compares all answers.
///
/// # Panics
/// At the first difference, naming the seed and the step.
pub async fn compare(seed: u64, steps: u64, judged: &dyn Subject) {
    compare_all_or(seed, steps, judged, true).await;
}

/// As [`compare`], of records alone: the subject's timelines aren't asked.
///
/// # Panics
/// At the first difference, naming the seed and the step.
pub async fn compare_records(seed: u64, steps: u64, judged: &dyn Subject) {
    compare_all_or(seed, steps, judged, false).await;
}

async fn compare_all_or(seed: u64, steps: u64, judged: &dyn Subject, with_timelines: bool) {
    let reference = &Memory::default();
    let mut random = Random(seed);
    let shape = Shape { cap: 1 + random.below(8) as usize, ..Shape::default() };
    let open = async |subject: &dyn Subject| Judged { opened: Some(subject.open(shape).await), kept: None };
    let (mut left, mut right) = (open(judged).await, open(reference).await);
    for opened in [&left, &right].into_iter().filter_map(|side| side.opened.as_ref()) {
        intern(&*opened.store, ACTORS).await;
    }
    for at in 1..=steps {
        let mut step = Step::random(&mut random, at);
        if !with_timelines && matches!(step, Step::Cache(_)) {
            continue;
        }
        if judged.home() == Home::Rows {
            match step {
                // they may stay
                Step::Cache(CacheStep::Purge(..)) => step = Step::Look(at),
                // and what is newer than a checkpoint may be there
                Step::Restart(_) => {
                    for opened in [&left, &right].into_iter().filter_map(|side| side.opened.as_ref()) {
                        opened.timelines.checkpoint(TaskId(at)).await.unwrap();
                    }
                }
                _ => {}
            }
        }
        let found = step.run(&mut left, judged, shape).await;
        let wanted = step.run(&mut right, reference, shape).await;
        if !with_timelines && matches!(step, Step::Restart(_)) {
            continue;
        }
        assert_eq!(found, wanted, "seed {seed}, step {at}: not what the reference answers");
    }
}
