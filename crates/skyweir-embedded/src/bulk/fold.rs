//! What is left of an account's follows after all their steps: the rules of single operations, in memory.

use std::collections::BTreeMap;

use skyweir_store::{RecordBody, Result};
use skyweir_types::{ActorId, RecordKey, Tid};

use super::others::Other;
use super::rows::{Kind, Step};
use crate::codec::tid_rkey;

/// A follow record with a TID as key that is alone on its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    pub(super) tid: Tid,
    pub(super) rev: Tid,
    pub(super) subject: u32,
}

/// What is left of some accounts.
#[derive(Default)]
pub(super) struct Folded {
    /// For each account the end of its records.
    pub(super) accounts: Vec<(ActorId, usize)>,
    /// By account and key.
    pub(super) plain: Vec<Plain>,
    /// By account and subject: the subject, and which of the account's records it is.
    pub(super) by_subject: Vec<(u32, u32)>,
    /// All other records, in the order in which the usual path has to take them.
    pub(super) others: Vec<Other>,
    /// How many steps it was.
    pub(super) steps: usize,
}

impl Folded {
    /// Adds an account. `key` finds the keys that are no TIDs; tombstones of before a time, in milliseconds, are
    /// forgotten.
    pub(super) fn add(
        &mut self,
        actor: ActorId,
        steps: &[Step],
        before_ms: i64,
        key: &mut impl FnMut(u64) -> Result<RecordKey>,
    ) -> Result<()> {
        self.steps += steps.len();
        let start = self.plain.len();
        if !self.add_plain(steps) || !self.index(start) {
            self.plain.truncate(start);
            self.by_subject.truncate(start);
            self.add_others(actor, Account::of(steps, key)?, before_ms)?;
            self.index(start);
        }
        if self.plain.len() > start {
            self.accounts.push((actor, self.plain.len()));
        }
        Ok(())
    }

    /// Takes what most accounts have; false if there is something else.
    fn add_plain(&mut self, steps: &[Step]) -> bool {
        for step in steps {
            match step.kind {
                Kind::Put if !step.is_text => {
                    let (tid, rev, subject) = (Tid(step.rkey), Tid(step.rev), step.value as u32);
                    self.plain.push(Plain { tid, rev, subject });
                }
                Kind::Other => {}
                _ => return false,
            }
        }
        true
    }

    /// Puts an account's records into both orders; false if a key or a subject stands twice.
    fn index(&mut self, start: usize) -> bool {
        let plain = &mut self.plain[start..];
        if !plain.is_sorted_by_key(|record| record.tid) {
            plain.sort_unstable_by_key(|record| record.tid);
        }
        self.by_subject.extend(plain.iter().zip(0..).map(|(record, at)| (record.subject, at)));
        let by_subject = &mut self.by_subject[start..];
        by_subject.sort_unstable();
        plain.is_sorted_by(|a, b| a.tid < b.tid) && by_subject.is_sorted_by(|a, b| a.0 < b.0)
    }

    /// Adds what is left of an account.
    fn add_others(&mut self, actor: ActorId, account: Account, before_ms: i64) -> Result<()> {
        let Account { mut records, edges, .. } = account;
        let mut edges = edges.into_iter().peekable();
        while let Some(((subject, _), first)) = edges.next() {
            let is_alone = edges.peek().is_none_or(|((next, _), _)| *next != subject);
            let mut rev = |key: &Key| records.remove(key).map_or(Tid::ZERO, |record| record.rev);
            if let (true, Key::Tid(tid)) = (is_alone, &first) {
                self.plain.push(Plain { tid: *tid, rev: rev(&first), subject });
                continue;
            }
            let body = RecordBody::Follow { subject: ActorId(subject) };
            let rev_of_first = rev(&first);
            self.others.push(Other { actor, rkey: first.rkey()?, rev: rev_of_first, body: body.clone() });
            while let Some((_, key)) = edges.next_if(|((next, _), _)| *next == subject) {
                let rev = rev(&key);
                self.others.push(Other { actor, rkey: key.rkey()?, rev, body: body.clone() });
            }
        }
        for (key, record) in records {
            if let State::Deleted { at_ms } = record.state
                && at_ms >= before_ms
            {
                let body = RecordBody::Tombstone { at_ms };
                self.others.push(Other { actor, rkey: key.rkey()?, rev: record.rev, body });
            }
        }
        Ok(())
    }
}

/// The key of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Tid(Tid),
    Text(RecordKey),
}

impl Key {
    fn rkey(self) -> Result<RecordKey> {
        match self {
            Self::Tid(tid) => tid_rkey(tid),
            Self::Text(rkey) => Ok(rkey),
        }
    }
}

struct Record {
    rev: Tid,
    state: State,
    /// The commit that wrote it last.
    commit: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Follow { subject: u32, arrival: u64 },
    Deleted { at_ms: i64 },
}

/// The records of an account, as single operations would have left them by now.
#[derive(Default)]
struct Account {
    records: BTreeMap<Key, Record>,
    /// By subject and arrival.
    edges: BTreeMap<(u32, u64), Key>,
    /// Numbers of steps and commits.
    arrival: u64,
    commit: u64,
}

impl Account {
    fn of(steps: &[Step], key: &mut impl FnMut(u64) -> Result<RecordKey>) -> Result<Self> {
        let mut account = Self::default();
        for step in steps {
            let at = match step.kind {
                Kind::Put | Kind::Delete if step.is_text => Some(Key::Text(key(step.rkey)?)),
                Kind::Put | Kind::Delete => Some(Key::Tid(Tid(step.rkey))),
                _ => None,
            };
            account.take(step, at);
        }
        Ok(account)
    }

    fn take(&mut self, step: &Step, key: Option<Key>) {
        self.arrival += 1;
        match (step.kind, key) {
            (Kind::Put | Kind::Delete, Some(key)) => self.write(step, key),
            (Kind::Wipe, _) => {
                self.records.clear();
                self.edges.clear();
            }
            (Kind::Sweep, _) => self.sweep(Tid(step.rev), step.value as i64),
            _ => {}
        }
    }

    fn write(&mut self, step: &Step, key: Key) {
        self.commit += u64::from(!step.goes_on);
        let (rev, subject) = (Tid(step.rev), step.value as u32);
        let is_delete = step.kind == Kind::Delete;
        let mut state = match step.kind {
            Kind::Delete => State::Deleted { at_ms: step.value as i64 },
            _ => State::Follow { subject, arrival: self.arrival },
        };
        if let Some(stored) = self.records.get_mut(&key) {
            let is_same = match stored.state {
                State::Follow { subject: ours, .. } => !is_delete && ours == subject,
                State::Deleted { .. } => is_delete,
            };
            if rev <= stored.rev && stored.commit != self.commit {
                // as after a crash between two operations of a commit on one key: behind the stored one it goes on
                if rev == stored.rev && is_same {
                    stored.commit = self.commit;
                }
                return;
            }
            match stored.state {
                State::Follow { .. } if is_same => state = stored.state,
                State::Follow { subject, arrival } => drop(self.edges.remove(&(subject, arrival))),
                State::Deleted { .. } => {}
            }
        }
        if let State::Follow { subject, arrival } = state {
            self.edges.insert((subject, arrival), key.clone());
        }
        self.records.insert(key, Record { rev, state, commit: self.commit });
    }

    fn sweep(&mut self, rev: Tid, at_ms: i64) {
        for record in self.records.values_mut().filter(|record| record.rev < rev) {
            if let State::Follow { subject, arrival } = record.state {
                self.edges.remove(&(subject, arrival));
                record.state = State::Deleted { at_ms };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTOR: ActorId = ActorId(7);

    fn put(rkey: u64, rev: u64, subject: u64) -> Step {
        Step { rkey, rev, value: subject, ..Step::default() }
    }

    fn delete(rkey: u64, rev: u64, at_ms: u64) -> Step {
        Step { kind: Kind::Delete, rkey, rev, value: at_ms, ..Step::default() }
    }

    fn text(step: Step) -> Step {
        Step { is_text: true, ..step }
    }

    fn goes_on(step: Step) -> Step {
        Step { goes_on: true, ..step }
    }

    fn key(at: u64) -> RecordKey {
        RecordKey::parse(&format!("key-{at}")).unwrap()
    }

    /// Keys and subjects of plain records; keys and bodies of others.
    type Records = (Vec<(u64, u32)>, Vec<(String, RecordBody)>);

    fn fold(steps: &[Step]) -> Records {
        let mut folded = Folded::default();
        folded.add(ACTOR, steps, 100, &mut |at| Ok(key(at))).unwrap();
        let plain: Vec<_> = folded.plain.iter().map(|record| (record.tid.0, record.subject)).collect();
        let indexed = |(subject, at): &(u32, u32)| folded.plain[*at as usize].subject == *subject;
        assert!(folded.by_subject.iter().all(indexed) && folded.by_subject.is_sorted());
        assert_eq!(folded.by_subject.len(), plain.len());
        assert_eq!(folded.accounts.len(), usize::from(!plain.is_empty()));
        let name = |rkey: &RecordKey| match crate::codec::rkey_tid(rkey) {
            Some(tid) => tid.0.to_string(),
            None => rkey.to_string(),
        };
        (plain, folded.others.into_iter().map(|other| (name(&other.rkey), other.body)).collect())
    }

    fn follow(subject: u32) -> RecordBody {
        RecordBody::Follow { subject: ActorId(subject) }
    }

    fn deleted(at_ms: i64) -> RecordBody {
        RecordBody::Tombstone { at_ms }
    }

    #[test]
    fn plain_records_come_by_key() {
        let other = Step { kind: Kind::Other, rev: 9, ..Step::default() };
        assert_eq!(fold(&[put(3, 1, 5), other, put(2, 2, 9), put(4, 3, 1)]).0, [(2, 9), (3, 5), (4, 1)]);
        assert_eq!(fold(&[other]).0, []);
    }

    #[test]
    fn the_greater_rev_wins_and_the_first_of_equal_ones() {
        assert_eq!(fold(&[put(1, 5, 8), put(1, 4, 9), put(1, 5, 6)]).0, [(1, 8)]);
        assert_eq!(fold(&[put(1, 5, 8), put(1, 6, 9)]).0, [(1, 9)]);
        assert_eq!(fold(&[put(1, 5, 8), delete(1, 5, 200)]).0, [(1, 8)]);
        // within one commit what comes later counts
        assert_eq!(fold(&[put(1, 5, 8), goes_on(put(1, 5, 9))]).0, [(1, 9)]);
        assert_eq!(fold(&[put(1, 5, 8), goes_on(delete(1, 5, 200)), goes_on(put(1, 5, 7))]).0, [(1, 7)]);
        // a commit that comes again goes on behind what is stored of it
        assert_eq!(fold(&[put(1, 5, 8), put(1, 5, 8), goes_on(put(1, 5, 9))]).0, [(1, 9)]);
    }

    #[test]
    fn tombstones_stay_if_they_are_young() {
        assert_eq!(fold(&[put(1, 1, 8), delete(1, 2, 100)]), (vec![], vec![("1".into(), deleted(100))]));
        assert_eq!(fold(&[delete(1, 2, 99)]), (vec![], vec![]));
        assert_eq!(fold(&[delete(1, 2, 99), put(1, 1, 8)]).0, [], "what the tombstone knew was older");
        assert_eq!(fold(&[delete(1, 2, 200), put(1, 3, 8)]).0, [(1, 8)]);
    }

    #[test]
    fn records_of_one_edge_come_by_arrival() {
        let both = vec![("5".to_owned(), follow(8)), ("3".to_owned(), follow(8))];
        assert_eq!(fold(&[put(5, 1, 8), put(3, 2, 8), put(4, 3, 9)]), (vec![(4, 9)], both));
        let young = vec![("5".to_owned(), deleted(300))];
        assert_eq!(fold(&[put(5, 1, 8), put(3, 2, 8), delete(5, 3, 300)]), (vec![(3, 8)], young));
        // who follows somebody else and comes back is the last
        let back = vec![("3".to_owned(), follow(8)), ("5".to_owned(), follow(8))];
        assert_eq!(fold(&[put(5, 1, 8), put(3, 2, 8), put(5, 3, 9), put(5, 4, 8)]).1, back);
        // the same again changes nothing
        let same = vec![("5".to_owned(), follow(8)), ("3".to_owned(), follow(8))];
        assert_eq!(fold(&[put(5, 1, 8), put(3, 2, 8), put(5, 3, 8)]).1, same);
    }

    #[test]
    fn other_keys_take_the_usual_path() {
        let alone = vec![("key-0".to_owned(), follow(8))];
        assert_eq!(fold(&[text(put(0, 1, 8)), put(2, 2, 9)]), (vec![(2, 9)], alone));
    }

    #[test]
    fn deleted_accounts_leave_nothing_and_resyncs_what_came_again() {
        let wipe = Step { kind: Kind::Wipe, ..Step::default() };
        assert_eq!(fold(&[put(1, 1, 8), delete(2, 2, 300), wipe, put(3, 3, 9)]), (vec![(3, 9)], vec![]));
        let sweep = Step { kind: Kind::Sweep, rev: 5, value: 400, ..Step::default() };
        let (plain, others) = fold(&[put(1, 1, 8), put(2, 2, 9), put(2, 5, 9), sweep]);
        assert_eq!((plain, others), (vec![(2, 9)], vec![("1".into(), deleted(400))]));
        // what comes late has a rev above the one that was swept
        assert_eq!(fold(&[put(1, 1, 8), sweep, put(1, 5, 8)]).0, [(1, 8)]);
    }
}
