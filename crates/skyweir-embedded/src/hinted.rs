//! Finding the follow records that edges only hint at.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::{ActorId, RecordKey, Tid};
use tokio::task::yield_now;

use crate::codec::tid_rkey;
use crate::db::{Moment, Read};
use crate::error::corrupt;
use crate::table::blocks::{self, Block};
use crate::table::follows::{Edge, Hint};
use crate::table::record_blocks::{Entry, RecordBlocks};
use crate::table::{Table, follow_blocks, records};

/// After so many rows others get their turn.
const STRETCH: usize = 256;

/// Visits the living follow records that a hint may mean, with their subjects; false ends it.
pub(crate) fn visit(
    read: &impl Read,
    follower: ActorId,
    hint: Hint,
    visit: &mut (dyn FnMut(Tid, ActorId) -> Result<bool> + Send),
) -> Result<()> {
    let mut packed = PackedRecords::new(follower, hint);
    while let Some(some) = packed.next(read)? {
        for entry in some {
            if !visit(entry.tid, entry.subject)? {
                return Ok(());
            }
        }
    }
    let mut go_on = true;
    for (from, to) in hint.windows() {
        let (from, to) = (records::follow_key(follower, from), records::follow_key(follower, to));
        read.scan(Table::Records, Bound::Included(&from), Some(&to), &mut |key, value| {
            if let (tid, RecordRow { body: RecordBody::Follow { subject }, .. }) =
                records::read_follow(key, value)?
            {
                go_on = visit(tid, subject)?;
            }
            Ok(go_on)
        })?;
        if !go_on {
            break;
        }
    }
    Ok(())
}

/// The records in blocks that a hint may mean, some at a time.
struct PackedRecords {
    follower: ActorId,
    /// Where they may be, the first one first.
    windows: VecDeque<(Tid, Tid)>,
    /// The block that was read last: often it is the only one.
    block: Option<Block<Entry>>,
}

impl PackedRecords {
    fn new(follower: ActorId, hint: Hint) -> Self {
        Self { follower, windows: hint.windows().collect(), block: None }
    }

    fn next(&mut self, read: &impl Read) -> Result<Option<&[Entry]>> {
        let range = loop {
            let Some((from, to)) = self.windows.pop_front() else { return Ok(None) };
            if self.block.as_ref().is_none_or(|block| block.bound < from.0) {
                self.block = blocks::block::<RecordBlocks>(read, self.follower, from.0)?;
            }
            // where no block is there is none above either
            let Some(Block { bound, entries }) = &self.block else { return Ok(None) };
            if *bound < to.0 - 1 {
                self.windows.push_front((Tid(bound + 1), to));
            }
            let at = |tid: Tid| entries.partition_point(|entry| entry.tid < tid);
            let range = at(from)..at(to);
            if !range.is_empty() {
                break range;
            }
        };
        Ok(self.block.as_ref().map(|block| &block.entries[range]))
    }
}

/// The error for an edge whose record isn't there.
pub(crate) fn lost(follower: ActorId, subject: ActorId) -> skyweir_store::Error {
    corrupt(format_args!("no record of the edge from {follower} to {subject}"))
}

/// Places in the answers by subject.
type Wanted = HashMap<ActorId, Vec<usize>>;

/// For (follower, subject) pairs the key of the oldest living follow record.
pub(crate) async fn edges(moment: &Moment, pairs: &[(ActorId, ActorId)]) -> Result<Vec<Option<RecordKey>>> {
    let mut answers = vec![None; pairs.len()];
    // edges of one follower with one hint are found in one go
    let mut hinted: BTreeMap<(ActorId, Hint), Wanted> = BTreeMap::new();
    for (at, (follower, subject)) in pairs.iter().enumerate() {
        if at > 0 && at.is_multiple_of(STRETCH) {
            yield_now().await;
        }
        match follow_blocks::edge(moment, *follower, *subject)? {
            None => {}
            Some(Edge::Keyed(edge)) => answers[at] = Some(edge.first),
            Some(Edge::Hinted(hint)) => {
                let wanted = hinted.entry((*follower, hint)).or_default();
                wanted.entry(*subject).or_default().push(at);
            }
        }
    }
    let mut looked = 0;
    for ((follower, hint), mut wanted) in hinted {
        let mut packed = PackedRecords::new(follower, hint);
        while !wanted.is_empty()
            && let Some(some) = packed.next(moment)?
        {
            for entry in some {
                found(entry.tid, entry.subject, &mut wanted, &mut answers)?;
            }
            looked += some.len();
            if looked >= STRETCH {
                looked = 0;
                yield_now().await;
            }
        }
        for (from, to) in hint.windows() {
            let mut from = Some(Bound::Included(records::follow_key(follower, from)));
            let to = records::follow_key(follower, to);
            while let Some(low) = from.take_if(|_| !wanted.is_empty()) {
                from = find(moment, (low, &to), &mut wanted, &mut answers, &mut looked)?;
                if looked >= STRETCH {
                    looked = 0;
                    yield_now().await;
                }
            }
        }
        if let Some(subject) = wanted.into_keys().next() {
            return Err(lost(follower, subject));
        }
    }
    Ok(answers)
}

/// Looks at some of the records of a range. Returns where to go on, if there is more to find.
fn find(
    moment: &Moment,
    (from, to): (Bound<Vec<u8>>, &[u8]),
    wanted: &mut Wanted,
    answers: &mut [Option<RecordKey>],
    looked: &mut usize,
) -> Result<Option<Bound<Vec<u8>>>> {
    let mut last = None;
    *looked += 1;
    moment.scan(Table::Records, from.as_ref().map(Vec::as_slice), Some(to), &mut |key, value| {
        if let (tid, RecordRow { body: RecordBody::Follow { subject }, .. }) =
            records::read_follow(key, value)?
        {
            found(tid, subject, wanted, answers)?;
        }
        *looked += 1;
        let go_on = *looked < STRETCH;
        last = (!go_on).then(|| Bound::Excluded(key.to_vec()));
        Ok(go_on && !wanted.is_empty())
    })?;
    Ok(last)
}

/// Answers who waits for the record of this edge.
fn found(tid: Tid, subject: ActorId, wanted: &mut Wanted, answers: &mut [Option<RecordKey>]) -> Result<()> {
    if let Some(places) = wanted.remove(&subject) {
        let rkey = tid_rkey(tid)?;
        places.into_iter().for_each(|at| answers[at] = Some(rkey.clone()));
    }
    Ok(())
}
