//! How far the writer lags behind the log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyweir_types::TaskId;

use crate::tally::Tally;

/// How many moments are remembered to tell the age of a task; when there are more, every second one is forgotten.
const MOMENTS: usize = 4_096;
/// Moments closer together than this many milliseconds count as one; those of a long backlog than a share of its age.
const MOMENT_MS: i64 = 20;

/// How far the writer is behind the task log; with several writers, how far all of them are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// Tasks in the log that are not done.
    pub tasks: u64,
    /// References that they still have to write. Of tasks that were taken here: followers not accounted for yet; of
    /// those that nobody has taken: their number times the mean of the tasks taken lately. What other writers have
    /// taken doesn't count.
    pub references: u64,
    /// Age of the oldest of them, in seconds; 0 when there is none.
    pub seconds: f64,
}

/// Of so many tasks the mean number of references is taken; older ones fade.
const LATELY: f64 = 256.0;

/// A fan-out that was taken and isn't done.
#[derive(Debug)]
struct Begun {
    followers: u64,
    /// Once it is at work.
    tally: Option<Arc<Tally>>,
}

#[derive(Debug)]
struct State {
    /// Fan-outs from their taking to their end.
    begun: BTreeMap<TaskId, Begun>,
    /// The one after the newest task that was taken.
    untaken: TaskId,
    /// References of a task in the mean.
    mean: f64,
    /// When tasks appeared: (the number that the next task had by then, milliseconds since 1970).
    seen: VecDeque<(TaskId, i64)>,
}

/// What is at work, and when tasks appeared.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<State>,
}

impl Progress {
    /// Begins with all tasks below `first` done.
    pub(crate) fn new(first: TaskId) -> Self {
        let state = State { begun: BTreeMap::new(), untaken: first, mean: 0.0, seen: VecDeque::new() };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a task was taken, and how many followers its fan-out's author has (0: no fan-out).
    pub(crate) fn begin(&self, task: TaskId, followers: u32) {
        let mut state = self.state();
        state.untaken = state.untaken.max(task.next());
        state.mean += (f64::from(followers) - state.mean) / LATELY;
        if followers > 0 {
            state.begun.insert(task, Begun { followers: followers.into(), tally: None });
        }
    }

    /// Notes that a fan-out is at work.
    pub(crate) fn works(&self, task: TaskId, tally: Arc<Tally>) {
        if let Some(begun) = self.state().begun.get_mut(&task) {
            begun.tally = Some(tally);
        }
    }

    /// Notes that a task is at work no more. Again is no harm.
    pub(crate) fn end(&self, task: TaskId) {
        self.state().begun.remove(&task);
    }

    /// Notes the number that the next task will get, and the one below which all are done.
    pub(crate) fn see(&self, next: TaskId, done: TaskId, now_ms: i64) {
        let mut state = self.state();
        while state.seen.front().is_some_and(|(known, _)| *known <= done) {
            state.seen.pop_front();
        }
        let age = state.seen.front().map_or(0, |(_, oldest)| now_ms - oldest);
        let apart = MOMENT_MS.max(age / (MOMENTS / 2) as i64);
        if next <= done {
            return;
        }
        if let Some((known, at)) = state.seen.back_mut()
            && now_ms - *at < apart
        {
            *known = next.max(*known);
            return;
        }
        if state.seen.len() >= MOMENTS {
            let mut at = 0;
            state.seen.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        state.seen.push_back((next, now_ms));
    }

    /// How far the writer is behind.
    pub(crate) fn lag(&self, next: TaskId, done: TaskId, now_ms: i64) -> Lag {
        self.see(next, done, now_ms);
        let tasks = next.0.saturating_sub(done.0);
        let oldest = self.state().seen.front().map_or(now_ms, |(_, at)| *at);
        let seconds = if tasks == 0 { 0.0 } else { (now_ms - oldest).max(0) as f64 / 1000.0 };
        Lag { tasks, references: self.references(next), seconds }
    }

    /// References that are still to be written, below task `next`.
    fn references(&self, next: TaskId) -> u64 {
        let state = self.state();
        let left = |begun: &Begun| {
            begun.followers.saturating_sub(begun.tally.as_ref().map_or(0, |tally| tally.accounted()))
        };
        let untaken = next.0.saturating_sub(state.untaken.0) as f64 * state.mean;
        state.begun.values().map(left).sum::<u64>() + untaken as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Range;
    use skyweir_store::Sums;

    #[test]
    fn the_lag_is_the_age_of_the_oldest_unfinished_task() {
        let progress = Progress::new(TaskId(1));
        progress.see(TaskId(3), TaskId(1), 1_000);
        progress.see(TaskId(4), TaskId(1), 5_000);
        let lag = |done, now_ms| progress.lag(TaskId(4), TaskId(done), now_ms);
        assert_eq!(lag(1, 6_000), Lag { tasks: 3, references: 0, seconds: 5.0 });
        assert_eq!(lag(3, 6_000), Lag { tasks: 1, references: 0, seconds: 1.0 });
        assert_eq!(lag(4, 9_000), Lag::default());
    }

    #[test]
    fn tasks_of_one_moment_have_its_age() {
        let progress = Progress::new(TaskId(1));
        progress.see(TaskId(2), TaskId(1), 1_000);
        progress.see(TaskId(3), TaskId(1), 1_000 + MOMENT_MS - 1);
        let lag = progress.lag(TaskId(3), TaskId(2), 61_000);
        assert_eq!(lag, Lag { tasks: 1, references: 0, seconds: 60.0 });
    }

    #[test]
    fn the_lag_counts_references_at_work_and_estimates_those_in_the_log() {
        let progress = Progress::new(TaskId(1));
        let references = |next| progress.lag(TaskId(next), TaskId(1), 0).references;
        assert_eq!(references(9), 0, "nothing is known yet");
        for task in 1..=2_000 {
            progress.begin(TaskId(task), 300);
            progress.end(TaskId(task));
        }
        assert_eq!(references(2_001), 0);
        let in_the_log = references(2_101);
        assert!((29_000..=30_000).contains(&in_the_log), "{in_the_log}");
        progress.begin(TaskId(2_001), 500);
        assert_eq!(references(2_002), 500, "begun, and no page is read");
        let tally = Arc::new(Tally::new(1, Sums::default()));
        progress.works(TaskId(2_001), Arc::clone(&tally));
        let stretch = tally.page(400);
        tally.hibernating(150);
        assert_eq!(references(2_002), 350);
        tally.sent();
        let counts = skyweir_store::Counts { written: 200, sampled_out: 50, ..Default::default() };
        tally.applied(Range::Followers(stretch), counts);
        assert_eq!(references(2_002), 100);
        progress.end(TaskId(2_001));
        assert_eq!(references(2_002), 0);
    }

    #[test]
    fn the_lag_of_a_long_backlog_is_not_forgotten() {
        let progress = Progress::new(TaskId(0));
        // a task every 20 ms, and none gets done
        let tasks = 5 * MOMENTS as u64;
        for task in 0..tasks {
            progress.see(TaskId(task + 1), TaskId(0), task as i64 * MOMENT_MS);
        }
        let now = tasks as i64 * MOMENT_MS;
        for done in 0..tasks {
            if done % 100 == 0 {
                let wanted = (tasks - done - 1) as f64 * MOMENT_MS as f64 / 1_000.0;
                let lag = progress.lag(TaskId(tasks), TaskId(done + 1), now);
                assert!((lag.seconds - wanted).abs() <= 1.0, "{} s for {wanted} s, {done} done", lag.seconds);
            }
        }
        assert!(progress.state().seen.len() <= MOMENTS);
    }
}
