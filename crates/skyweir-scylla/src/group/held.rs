//! What one writer has of the group's tasks, as far as it knows.

use std::collections::{BTreeMap, BTreeSet};

use skyweir_store::{Counts, Reached, Sums};
use skyweir_types::{ActorId, TaskId};

/// Tasks that were taken and aren't acknowledged.
#[derive(Default)]
pub(super) struct Held {
    /// Those at work, with how far they are, if that isn't told yet.
    at_work: BTreeMap<TaskId, Option<Reached>>,
    finished: BTreeSet<TaskId>,
}

impl Held {
    /// Notes one that was taken; false if it is here already.
    pub(super) fn take(&mut self, task: TaskId) -> bool {
        if self.finished.contains(&task) || self.at_work.contains_key(&task) {
            return false;
        }
        self.at_work.insert(task, None);
        true
    }

    pub(super) fn is_at_work(&self, task: TaskId) -> bool {
        self.at_work.contains_key(&task)
    }

    pub(super) fn reached(&mut self, task: TaskId, reached: Reached) {
        if let Some(news) = self.at_work.get_mut(&task) {
            *news = Some(reached);
        }
    }

    /// Notes that one is finished; false if it isn't at work.
    pub(super) fn finish(&mut self, task: TaskId) -> bool {
        self.at_work.remove(&task).is_some() && self.finished.insert(task)
    }

    /// Those that are finished and may not be acknowledged.
    pub(super) fn finished(&self) -> Vec<TaskId> {
        self.finished.iter().copied().collect()
    }

    /// These are acknowledged, or somebody else's.
    pub(super) fn acknowledged(&mut self, tasks: &[TaskId]) {
        tasks.iter().for_each(|task| {
            self.finished.remove(task);
        });
    }

    /// What there is to tell: of all that are at work, or only of those with news.
    pub(super) fn news(&self, all: bool) -> Vec<(TaskId, String)> {
        let told = self.at_work.iter().filter(|(_, news)| all || news.is_some());
        told.map(|(task, news)| (*task, news.map(text).unwrap_or_default())).collect()
    }

    /// This was told; what has come since is still news.
    pub(super) fn told(&mut self, told: &[(TaskId, String)]) {
        for (task, told) in told {
            if let Some(news) = self.at_work.get_mut(task)
                && news.is_some_and(|news| text(news) == *told)
            {
                *news = None;
            }
        }
    }

    /// Somebody else has it.
    pub(super) fn lose(&mut self, task: TaskId) -> bool {
        self.at_work.remove(&task).is_some()
    }
}

/// How far a fan-out is, as people read it in Redis: the last follower, then pages, followers, and the four counts.
pub(super) fn text(reached: Reached) -> String {
    let Reached { after, sums: Sums { pages, followers, counts } } = reached;
    let Counts { written, below_floor, sampled_out, hibernating } = counts;
    format!("{after} {pages} {followers} {written} {below_floor} {sampled_out} {hibernating}")
}

/// Back from [`text`].
pub(super) fn of_text(text: &str) -> Option<Reached> {
    let (after, rest) = text.split_once(' ')?;
    let numbers: Vec<u64> = rest.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [pages, followers, written, below_floor, sampled_out, hibernating] = numbers[..] else { return None };
    let counts = Counts { written, below_floor, sampled_out, hibernating };
    let sums = Sums { pages: u32::try_from(pages).ok()?, followers, counts };
    Some(Reached { after: ActorId(after.parse().ok()?), sums })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(after: u32) -> Reached {
        let counts = Counts { written: 1, below_floor: 2, sampled_out: 3, hibernating: 4 };
        Reached { after: ActorId(after), sums: Sums { pages: 5, followers: 10, counts } }
    }

    #[test]
    fn places_are_texts() {
        assert_eq!(text(at(u32::MAX)), "4294967295 5 10 1 2 3 4");
        assert_eq!(of_text(&text(at(7))), Some(at(7)));
        for bad in ["", "1", "1 2 3 4 5 6", "1 2 3 4 5 6 7 8", "1 2 3 4 5 6 x", "-1 2 3 4 5 6 7"] {
            assert_eq!(of_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn news_are_told_once_and_not_overlooked() {
        let mut held = Held::default();
        assert!(held.take(TaskId(1)) && held.take(TaskId(2)) && !held.take(TaskId(1)));
        held.reached(TaskId(2), at(5));
        assert_eq!(held.news(false), [(TaskId(2), text(at(5)))]);
        let all = held.news(true);
        assert_eq!(all.len(), 2);
        held.reached(TaskId(2), at(6));
        held.told(&all);
        assert_eq!(held.news(false), [(TaskId(2), text(at(6)))], "came while the former was told");
        held.told(&held.news(false));
        assert_eq!(held.news(false), []);
        assert!(held.finish(TaskId(2)) && !held.finish(TaskId(2)));
        assert!(!held.take(TaskId(2)), "not acknowledged yet");
        held.acknowledged(&held.finished());
        assert!(held.take(TaskId(2)));
        assert!(held.lose(TaskId(2)) && !held.finish(TaskId(2)) && held.finished().is_empty());
    }
}
