//! Who does which task: the log of tasks as a writer sees it, alone with it or one of several.

mod log;

use async_trait::async_trait;
use skyweir_types::{ActorId, TaskId};
use tokio::sync::watch;

use crate::{Counts, Result, Task};

pub use log::LogTasks;

/// A task that was taken: nobody else does it as long as it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub id: TaskId,
    /// What is to be done.
    pub task: Task,
    /// How far somebody got with it before.
    pub reached: Option<Reached>,
}

/// How far a fan-out is: whoever goes on with it begins behind that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The references of all followers up to this one are readable, or accounted for.
    pub after: ActorId,
    /// What became of those.
    pub sums: Sums,
}

/// What became of the followers of some pages: once their references are written, followers = the four counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many pages.
    pub pages: u32,
    /// How many followers they held.
    pub followers: u64,
    /// What became of their references.
    pub counts: Counts,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.pages += other.pages;
        self.followers += other.followers;
        self.counts += other.counts;
    }
}

/// The tasks of one store, each of which is given to one of its writers. Every task may be done again, so what is taken
/// from somebody who has it still does no harm.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Whether nobody else takes tasks: what is taken and has to wait is in nobody's way then.
    fn alone(&self) -> bool;
    /// Takes at least one task, at most `n`, in the order of the log as far as nobody has had them; waits as long as
    /// there is none. Asked by one at a time. Cut off, what it would have taken comes again: at the next call, or some
    /// time later and perhaps to somebody else.
    async fn take(&self, n: usize) -> Result<Vec<Taken>>;
    /// Whether a task that was taken is still ours: after a while without a sign of life somebody else has it. Cheap.
    fn is_ours(&self, task: TaskId) -> bool;
    /// Notes how far a fan-out is. Whoever takes it after us is told so, or of somewhat before.
    fn reached(&self, task: TaskId, reached: Reached);
    /// Notes that all references of a task are readable. Again is no harm.
    fn finish(&self, task: TaskId);
    /// Watches *done*, over all writers: everything below it is finished. It never falls.
    fn done(&self) -> watch::Receiver<TaskId>;
    /// Watches the number that the next task will get. It never falls.
    fn next(&self) -> watch::Receiver<TaskId>;
    /// The newest task that was appended before this was asked, whoever appended it; 0: none was.
    async fn newest(&self) -> Result<TaskId>;
    /// Gives signs of life, tells what is finished, and looks what the others have done; for ever.
    ///
    /// # Errors
    /// Corruption only.
    async fn run(&self) -> Result<()>;
    /// Tells what is finished, and gives back what isn't, so that others don't wait for us. Nothing is taken any more.
    async fn give_back(&self) -> Result<()>;
}
