//! What a transaction is told that it will be asked for: read side by side, where each question by itself is a round
//! trip.

use std::sync::Arc;

use skyweir_store::{Ahead, Result};
use skyweir_types::{ActorId, Did, RecordRef};

use super::edges::Edge;
use super::{Record, ScyllaTxn};
use crate::base::Base;
use crate::store::Inner;

/// How many edges of one account one request asks for.
const EDGES_MOST: usize = 100;

impl ScyllaTxn {
    pub(super) async fn read_ahead(&mut self, Ahead { dids, records, edges }: Ahead) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        self.dids_ahead(&inner, dids).await?;
        self.records_ahead(&inner, records).await?;
        self.edges_ahead(&inner, edges).await
    }

    async fn dids_ahead(&mut self, inner: &Inner, mut dids: Vec<Did>) -> Result<()> {
        let (Base { db, tables, .. }, Inner { remembered, .. }) = (&*inner.base, inner);
        dids.retain(|did| !self.numbers.contains_key(did) && remembered.numbers.get(did).is_none());
        let found = db.each(dids.len(), |at| tables.dids.actor(db, &dids[at])).await?;
        for (did, actor) in dids.into_iter().zip(found) {
            match actor {
                Some(actor) => remembered.numbers.insert(did, actor),
                None => {
                    self.strangers.insert(did);
                }
            }
        }
        Ok(())
    }

    async fn records_ahead(&mut self, inner: &Inner, mut keys: Vec<RecordRef>) -> Result<()> {
        let Base { db, tables, .. } = &*inner.base;
        keys.retain(|key| !self.records.contains_key(key));
        let found = db.each(keys.len(), |at| tables.records.at(db, &keys[at], i64::MAX)).await?;
        for (key, stored) in keys.into_iter().zip(found) {
            let now = stored.as_ref().map(|stored| stored.row.clone());
            self.records.insert(key, Record { stored, now });
        }
        Ok(())
    }

    async fn edges_ahead(&mut self, inner: &Inner, mut pairs: Vec<(ActorId, ActorId)>) -> Result<()> {
        let Base { db, tables, .. } = &*inner.base;
        pairs.retain(|pair| !self.edges.contains_key(pair));
        pairs.sort_unstable();
        pairs.dedup();
        let of_one = pairs.chunk_by(|one, other| one.0 == other.0);
        let asks: Vec<(ActorId, Vec<ActorId>)> = of_one
            .flat_map(|of_one| of_one.chunks(EDGES_MOST))
            .map(|some| (some[0].0, some.iter().map(|(_, subject)| *subject).collect()))
            .collect();
        let found = db.each(asks.len(), |at| tables.follows.edges(db, asks[at].0, &asks[at].1)).await?;
        for ((follower, subjects), rows) in asks.into_iter().zip(found) {
            for subject in subjects {
                let of_edge = rows.iter().filter(|row| row.subject == subject && row.life.died.is_none());
                self.edges.insert((follower, subject), Edge::new(of_edge.cloned().collect()));
            }
        }
        Ok(())
    }
}
