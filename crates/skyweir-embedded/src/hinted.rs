//! Finding the follow records that edges only hint at.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use skyweir_store::Result;
use skyweir_types::{ActorId, RecordKey, Tid};
use tokio::task::yield_now;

use crate::db::{Moment, Read};
use crate::error::corrupt;
use crate::table::follows::{self, Edge, Hint};
use crate::table::{Table, records};

/// After so many rows others get their turn.
const STRETCH: usize = 256;

/// Visits the living follow records that a hint may mean, with their subjects; false ends it.
pub(crate) fn visit(
    read: &impl Read,
    follower: ActorId,
    hint: Hint,
    visit: &mut (dyn FnMut(Tid, ActorId) -> Result<bool> + Send),
) -> Result<()> {
    let mut go_on = true;
    for (from, to) in hint.windows() {
        let (from, to) = (records::follow_key(follower, from), records::follow_key(follower, to));
        read.scan(Table::Records, Bound::Included(&from), Some(&to), &mut |key, value| {
            if let Some((tid, subject)) = records::read_follow(key, value)? {
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
        let stored = moment.get(Table::Follows, &follows::key(*follower, *subject))?;
        match stored.map(|bytes| follows::decode(&bytes)).transpose()? {
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
        if let Some((tid, subject)) = records::read_follow(key, value)?
            && let Some(places) = wanted.remove(&subject)
        {
            let rkey = RecordKey::parse(&tid.to_string()).map_err(|_| corrupt("a TID is no record key"))?;
            places.into_iter().for_each(|at| answers[at] = Some(rkey.clone()));
        }
        *looked += 1;
        let go_on = *looked < STRETCH;
        last = (!go_on).then(|| Bound::Excluded(key.to_vec()));
        Ok(go_on && !wanted.is_empty())
    })?;
    Ok(last)
}
