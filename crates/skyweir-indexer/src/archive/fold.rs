//! Events past the per-event path: what counts of accounts is applied at once, in memory, follows become steps of a
//! load, and what is left is noted. The rules are those of [`crate::Applier`].

use std::collections::BTreeSet;

use minicbor::{Decoder, Encoder};
use skyweir_store::{AccountRow, Error, Load, LoadStep, Result, SyncMark};
use skyweir_types::{AccountStatus, Action, ActorId, Body, Collection, Did, Event, Record, RecordOp, Tid};

use super::note;
use crate::Horizons;
use crate::apply::{COMMIT_MOST, SYNCS_MOST, begins, is_news};
use crate::source::{Frame, SavedPosition};

/// Where a load is, as it is saved with what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The archive's name.
    pub(super) source: String,
    /// The last sequence number.
    pub(super) position: u64,
    /// Greatest event time seen, microseconds since 1970.
    pub(super) stream_us: i64,
    /// The commit whose operations are coming, and how many have.
    commit: (u32, u64, u64),
    /// Number of the commit; of the commit that the last step was of, and the last note.
    commits: (u64, u64, u64),
    /// Something that a deletion could take away is noted.
    has_items: bool,
}

impl Place {
    fn begin(source: &str) -> Self {
        let source = source.to_owned();
        let (commit, commits) = ((u32::MAX, 0, 0), (0, u64::MAX, u64::MAX));
        Self { source, position: 0, stream_us: i64::MIN, commit, commits, has_items: false }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(Vec::with_capacity(160));
        let parts = (&self.source, self.position, self.stream_us, self.commit, self.commits, self.has_items);
        out.encode(parts).expect("memory takes all");
        out.into_writer()
    }

    /// Back from its bytes; `None` for those of a load that is at its begin.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let parts =
            Decoder::new(bytes).decode::<(String, u64, i64, (u32, u64, u64), (u64, u64, u64), bool)>();
        let parts = parts.map_err(|_| Error::Corrupt("undecodable bytes as the place of a load".into()))?;
        let (source, position, stream_us, commit, commits, has_items) = parts;
        Ok(Some(Self { source, position, stream_us, commit, commits, has_items }))
    }

    /// Counts an operation.
    fn operation(&mut self, actor: ActorId, rev: Tid) {
        let (of, at, operations) = self.commit;
        if (of, at) == (actor.0, rev.0) && operations < COMMIT_MOST as u64 {
            self.commit.2 += 1;
        } else {
            self.commit = (actor.0, rev.0, 1);
            self.commits.0 += 1;
        }
    }

    /// Whether the step before was of the same commit as this one.
    fn step_goes_on(&mut self) -> bool {
        std::mem::replace(&mut self.commits.1, self.commits.0) == self.commits.0
    }

    fn note_goes_on(&mut self) -> bool {
        std::mem::replace(&mut self.commits.2, self.commits.0) == self.commits.0
    }
}

/// Takes frames into a load.
pub(super) struct Fold<L> {
    pub(super) load: L,
    horizons: Horizons,
    items_since_us: i64,
    place: Place,
    /// Resyncs under way, by their time.
    syncs: BTreeSet<(i64, ActorId)>,
    /// Rows of one account come together.
    last: Option<(Did, ActorId)>,
}

impl<L: Load> Fold<L> {
    /// Goes on where the load is, or begins with the archive of this name.
    pub(super) fn new(load: L, source: &str, horizons: Horizons, items_since_us: i64) -> Result<Self> {
        let place = Place::decode(load.place())?.unwrap_or_else(|| Place::begin(source));
        let syncs = load.sync_marks().into_iter().map(|(actor, mark)| (mark.since_ms, actor)).collect();
        Ok(Self { load, horizons, items_since_us, place, syncs, last: None })
    }

    /// Where it is; `None` at the begin.
    pub(super) fn position(&self) -> Option<SavedPosition> {
        let Place { position, stream_us: time_us, .. } = self.place;
        (position > 0).then_some(SavedPosition { position, time_us })
    }

    /// Takes a frame as one step.
    pub(super) fn frame(&mut self, frame: &Frame) -> Result<()> {
        for event in &frame.events {
            self.place.stream_us = self.place.stream_us.max(event.time_us);
            let actor = self.actor(&event.did)?;
            match &event.body {
                Body::Record(op) => self.record(actor, event, op)?,
                Body::Account(status) => self.account(actor, event, *status)?,
                Body::Sync { rev, records_follow: true } => self.sync(actor, event, *rev)?,
                Body::Sync { .. } => {}
                Body::SyncEnd { .. } => {
                    return Err(Error::Corrupt("a repository's end, which no archive has".into()));
                }
            }
        }
        self.end_quiet_syncs()?;
        if let Some(position) = frame.position {
            self.place.position = position;
            self.load.reached(&self.place.encode())?;
        }
        Ok(())
    }

    fn actor(&mut self, did: &Did) -> Result<ActorId> {
        if let Some((last, actor)) = &self.last
            && last == did
        {
            return Ok(*actor);
        }
        let actor = self.load.actor(did)?;
        self.last = Some((did.clone(), actor));
        Ok(actor)
    }

    fn record(&mut self, actor: ActorId, event: &Event, op: &RecordOp) -> Result<()> {
        let account = self.load.account(actor);
        if op.rev <= account.gone {
            return Ok(());
        }
        if let Some(mark) = account.sync.filter(|mark| op.rev > mark.rev) {
            self.end_sync(actor, mark)?;
        }
        self.place.operation(actor, op.rev);
        let (rkey, rev) = (&op.rkey, op.rev);
        let step = match &op.action {
            _ if op.collection != Collection::Follow => {
                if !self.is_forgotten(event, op) {
                    let goes_on = self.place.note_goes_on();
                    let stream_us = self.place.stream_us;
                    self.load.note(&note::operation(actor, stream_us, event, op, goes_on))?;
                    self.place.has_items = true;
                }
                LoadStep::Other { rev }
            }
            Action::Put { record: Record::Follow { subject }, .. } => {
                let (subject, goes_on) = (self.load.actor(subject)?, self.place.step_goes_on());
                LoadStep::Put { rkey, rev, subject, goes_on }
            }
            Action::Put { .. } => return Err(Error::Corrupt("a follow that is another record".into())),
            Action::Delete => {
                let (at_ms, goes_on) = (event.time_us.div_euclid(1000), self.place.step_goes_on());
                LoadStep::Delete { rkey, rev, at_ms, goes_on }
            }
        };
        self.load.step(actor, step)
    }

    /// Whether a deletion is of what is too old to be wanted, and its tombstone would be forgotten before anything is
    /// that isn't. An archive has the deletions of all times. Who goes on may want less than before: what is noted by
    /// then has to be deleted.
    fn is_forgotten(&self, event: &Event, op: &RecordOp) -> bool {
        let tombstones_us = self.horizons.tombstones_ms.saturating_mul(1_000);
        op.action == Action::Delete
            && !self.place.has_items
            && self.place.stream_us < self.items_since_us
            && event.time_us < self.items_since_us.saturating_sub(tombstones_us)
    }

    fn account(&mut self, actor: ActorId, event: &Event, status: AccountStatus) -> Result<()> {
        let mut row = self.load.account(actor);
        if !is_news(&row, status, event.time_us) {
            return Ok(());
        }
        (row.status, row.status_us) = (status, event.time_us);
        if status == AccountStatus::Deleted {
            let synced = row.sync.take();
            if let Some(mark) = synced {
                self.syncs.remove(&(mark.since_ms, actor));
            }
            let synced = synced.map_or(Tid::ZERO, |mark| mark.rev);
            row.gone = row.gone.max(synced).max(self.load.greatest_rev(actor));
            self.load.step(actor, LoadStep::Wipe)?;
            if self.place.has_items {
                self.load.note(&note::wipe(actor, self.place.stream_us))?;
            }
        }
        self.load.set_account(actor, row)
    }

    fn sync(&mut self, actor: ActorId, event: &Event, rev: Tid) -> Result<()> {
        let row = self.load.account(actor);
        if !begins(&row, rev) {
            return Ok(());
        }
        if let Some(mark) = row.sync {
            self.end_sync(actor, mark)?;
        }
        if self.syncs.len() >= SYNCS_MOST {
            self.end_oldest_sync()?;
        }
        let mark = SyncMark { rev, since_ms: event.time_us.div_euclid(1000) };
        self.syncs.insert((mark.since_ms, actor));
        let row = self.load.account(actor);
        self.load.set_account(actor, AccountRow { sync: Some(mark), ..row })
    }

    fn end_sync(&mut self, actor: ActorId, mark: SyncMark) -> Result<()> {
        self.syncs.remove(&(mark.since_ms, actor));
        self.load.step(actor, LoadStep::Sweep(mark))?;
        if self.place.has_items {
            self.load.note(&note::sweep(actor, self.place.stream_us, mark))?;
        }
        let row = self.load.account(actor);
        self.load.set_account(actor, AccountRow { sync: None, ..row })
    }

    fn end_oldest_sync(&mut self) -> Result<()> {
        let Some((since_ms, actor)) = self.syncs.first().copied() else { return Ok(()) };
        match self.load.account(actor).sync {
            Some(mark) if mark.since_ms == since_ms => self.end_sync(actor, mark),
            _ => Err(Error::Corrupt("a load has lost a resync".into())),
        }
    }

    fn end_quiet_syncs(&mut self) -> Result<()> {
        if self.place.stream_us == i64::MIN {
            return Ok(());
        }
        let over = self.place.stream_us.div_euclid(1000) - self.horizons.sync_grace_ms;
        while self.syncs.first().is_some_and(|(since_ms, _)| *since_ms < over) {
            self.end_oldest_sync()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_round_trips() {
        let mut place = Place::begin("archive of x");
        assert_eq!(Place::decode(&[]).unwrap(), None);
        assert!(Place::decode(&[1]).is_err());
        for (actor, rev) in [(3, 5), (3, 5), (4, 5)] {
            assert_eq!(Place::decode(&place.encode()).unwrap(), Some(place.clone()));
            place.operation(ActorId(actor), Tid(rev));
        }
        (place.stream_us, place.position) = (-8, u64::MAX);
        assert_eq!(Place::decode(&place.encode()).unwrap(), Some(place));
    }

    #[test]
    fn steps_and_notes_go_on_with_their_commits() {
        let mut place = Place::begin("x");
        place.operation(ActorId(1), Tid(1));
        assert!(!place.step_goes_on());
        place.operation(ActorId(1), Tid(1));
        assert!(!place.note_goes_on(), "its first note");
        place.operation(ActorId(1), Tid(1));
        assert!(place.step_goes_on());
        // another account's comes between
        place.operation(ActorId(2), Tid(1));
        assert!(!place.step_goes_on());
        place.operation(ActorId(1), Tid(1));
        assert!(!place.step_goes_on() && !place.note_goes_on());
        for _ in 1..COMMIT_MOST {
            place.operation(ActorId(1), Tid(1));
            assert!(place.step_goes_on());
        }
        place.operation(ActorId(1), Tid(1));
        assert!(!place.step_goes_on(), "no commit has more operations");
    }
}
