//! The high-follow snapshot: the accounts whose timelines are sampled.

use std::collections::HashMap;

use skyweir_proto::skyweir::graph::v1::HighFollowsChunk;
use skyweir_store::{Result, Store};
use skyweir_types::ActorId;

/// How many accounts a chunk holds: 80 KB.
const CHUNK: usize = 10_000;

/// Accounts that follow more than the reasonable limit, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HighFollows {
    /// 0 as long as none was taken.
    number: u64,
    counts: HashMap<ActorId, u32>,
}

impl HighFollows {
    pub(crate) async fn take(store: &dyn Store, number: u64, limit: u32, most: usize) -> Result<Self> {
        let view = store.view().await?;
        let counts = view.high_follows(limit, most).await?.into_iter().collect();
        Ok(Self { number, counts })
    }

    /// Which snapshot it is: rises from one to the next of the same graph. 0 before the first.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The accounts, each with how many it follows.
    pub fn iter(&self) -> impl Iterator<Item = (ActorId, u32)> + '_ {
        self.counts.iter().map(|(actor, follows)| (*actor, *follows))
    }

    /// How many an account follows, if that is more than the limit.
    #[must_use]
    pub fn get(&self, actor: ActorId) -> Option<u32> {
        self.counts.get(&actor).copied()
    }

    /// How many accounts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether no account is over the limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The snapshot as it goes over the wire; one without accounts is a chunk, too.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = HighFollowsChunk> + '_ {
        let mut counts = self.iter();
        let chunks = self.len().div_ceil(CHUNK).max(1);
        (1..=chunks).map(move |nth| {
            let (actors, follows) =
                counts.by_ref().take(CHUNK).map(|(actor, follows)| (actor.0, follows)).unzip();
            HighFollowsChunk { snapshot: self.number, actors, follows, last: nth == chunks }
        })
    }
}

/// A snapshot of which not all chunks are there yet.
#[derive(Default)]
pub(crate) struct Unfinished(Option<HighFollows>);

impl Unfinished {
    /// Adds a chunk; the snapshot, if that was its last one. Accounts over `most` are left out.
    ///
    /// # Errors
    /// What is wrong with a chunk that doesn't belong there.
    pub(crate) fn add(
        &mut self,
        chunk: HighFollowsChunk,
        most: usize,
    ) -> std::result::Result<Option<HighFollows>, &'static str> {
        let HighFollowsChunk { snapshot, actors, follows, last } = chunk;
        if actors.len() != follows.len() {
            return Err("a chunk of the high-follow snapshot has more accounts than counts, or fewer");
        }
        let mut taken = self.0.take().unwrap_or(HighFollows { number: snapshot, counts: HashMap::new() });
        if taken.number != snapshot {
            return Err("a high-follow snapshot began before the one before it was complete");
        }
        for (actor, follows) in actors.into_iter().zip(follows) {
            if taken.len() < most {
                taken.counts.insert(ActorId(actor), follows);
            }
        }
        if last {
            return Ok(Some(taken));
        }
        self.0 = Some(taken);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(number: u64, accounts: u32) -> HighFollows {
        HighFollows { number, counts: (0..accounts).map(|n| (ActorId(n), 3_000 + n)).collect() }
    }

    #[test]
    fn chunks_make_the_snapshot_again() {
        let mut unfinished = Unfinished::default();
        for accounts in [0, 1, CHUNK as u32, CHUNK as u32 + 1, 3 * CHUNK as u32] {
            let sent = snapshot(7, accounts);
            let chunks: Vec<_> = sent.chunks().collect();
            assert_eq!(chunks.len(), (accounts as usize).div_ceil(CHUNK).max(1));
            let mut got: Vec<_> =
                chunks.into_iter().map(|chunk| unfinished.add(chunk, 1_000_000).unwrap()).collect();
            assert_eq!(got.pop().flatten(), Some(sent));
            assert!(got.iter().all(Option::is_none));
        }
        let chunk = snapshot(7, 30).chunks().next().unwrap();
        assert_eq!(unfinished.add(chunk, 20).unwrap().unwrap().len(), 20);
    }

    #[test]
    fn chunks_that_do_not_belong_together_are_refused() {
        let first = |number| snapshot(number, CHUNK as u32 + 1).chunks().next().unwrap();
        let mut unfinished = Unfinished::default();
        assert_eq!(unfinished.add(first(1), 1 << 20).unwrap(), None);
        assert!(unfinished.add(first(2), 1 << 20).unwrap_err().contains("before the one before it"));
        let uneven = HighFollowsChunk { actors: vec![1], ..HighFollowsChunk::default() };
        assert!(Unfinished::default().add(uneven, 9).unwrap_err().contains("more accounts than counts"));
    }
}
