//! Events as they come from a source, and applying them as the indexer does.

use std::slice::from_ref;

use anyhow::{Result, ensure};
use skyweir_embedded::EmbeddedStore;
use skyweir_indexer::{Applier, Horizons, Outcome};
use skyweir_store::{SavedCursor, Store as _};
use skyweir_types::{
    AcrossAccounts, Action, Body, Cid, Collection, Did, Event, Record, RecordKey, RecordOp, Tid,
};

use crate::rng::Rng;

/// The DID of an account: well-formed, and as long as those of the network.
pub(crate) fn did(actor: u32) -> Result<Did> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut rng = Rng::new(0xd1d0_0000_0000 + u64::from(actor));
    let mut text = String::from("did:plc:");
    for _ in 0..2 {
        let mut bits = rng.any();
        for _ in 0..12 {
            text.push(char::from(LETTERS[(bits & 31) as usize]));
            bits >>= 5;
        }
    }
    Ok(Did::parse(&text)?)
}

/// A CID that no other number has.
pub(crate) fn cid(n: u64) -> Cid {
    let mut rng = Rng::new(!n);
    let mut digest = [0; 32];
    digest.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&rng.any().to_be_bytes()));
    Cid::from_digest(digest)
}

/// A record key of this time.
pub(crate) fn rkey(micros: u64, clock: u16) -> Result<RecordKey> {
    Ok(RecordKey::parse(&Tid::from_parts(micros, clock).to_string())?)
}

/// A post created at this millisecond, which is its `sortAt` too, and witnessed half a second later.
pub(crate) fn post(author: &Did, created_ms: i64) -> Result<Event> {
    let micros = created_ms as u64 * 1_000;
    let record = Record::Post { created_at: created_ms, is_reply: false, is_quote: false };
    let op = RecordOp {
        rev: Tid::from_parts(micros + 50_000, 1),
        collection: Collection::Post,
        rkey: rkey(micros, 1)?,
        action: Action::Put { cid: cid(micros), record },
    };
    Ok(Event { did: author.clone(), time_us: created_ms * 1_000 + 500_000, body: Body::Record(op) })
}

/// Applies groups of events.
pub(crate) struct Feed {
    store: EmbeddedStore,
    applier: Applier,
    position: u64,
}

impl Feed {
    pub(crate) async fn new(store: EmbeddedStore) -> Result<Self> {
        Self::with(store, Horizons::default()).await
    }

    pub(crate) async fn with(store: EmbeddedStore, horizons: Horizons) -> Result<Self> {
        let view = store.view().await?;
        let applier = Applier::load(&*view, AcrossAccounts::Slips, horizons).await?;
        Ok(Self { store, applier, position: 0 })
    }

    /// One synced transaction, each event a message of its own, with the cursor: what the indexer does. Returns how
    /// many changed something.
    pub(crate) async fn group(&mut self, events: &[Event]) -> Result<usize> {
        let mut txn = self.store.begin().await?;
        let mut outcomes = Vec::with_capacity(events.len());
        for event in events {
            self.applier.frame(&mut *txn, from_ref(event), &mut outcomes).await?;
        }
        self.applier.end_group(&mut *txn).await?;
        self.position += events.len() as u64;
        let time_us = self.applier.stream_us();
        txn.set_cursor(SavedCursor { source: "bars".into(), position: self.position, time_us }).await?;
        txn.commit().await?;
        ensure!(outcomes.len() == events.len(), "an event without an outcome");
        Ok(outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count())
    }
}
