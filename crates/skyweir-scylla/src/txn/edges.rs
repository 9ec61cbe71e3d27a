//! Edges as a transaction changes them.

use skyweir_store::Result;
use skyweir_types::{ActorId, RecordKey};

use super::ScyllaTxn;
use crate::base::Base;
use crate::table::follows::Row;
use crate::table::{Effect, Life, followers};

/// An edge: the records that say so, the oldest first.
pub(super) struct Edge {
    stored: Vec<Row>,
    now: Vec<Said>,
}

/// A record of an edge.
struct Said {
    rkey: RecordKey,
    /// Its row, unless this transaction brings it.
    row: Option<Row>,
}

/// Whether there is an edge that wasn't, or none any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Begins,
    Ends,
}

impl Edge {
    pub(super) fn new(stored: Vec<Row>) -> Self {
        let now = stored.iter().map(|row| Said { rkey: row.rkey.clone(), row: Some(row.clone()) }).collect();
        Self { stored, now }
    }

    /// Whether the edge is new.
    pub(super) fn add(&mut self, rkey: &RecordKey) -> bool {
        if self.now.iter().any(|said| said.rkey == *rkey) {
            return false;
        }
        self.now.push(Said { rkey: rkey.clone(), row: None });
        self.now.len() == 1
    }

    /// Whether the edge is gone.
    pub(super) fn remove(&mut self, rkey: &RecordKey) -> bool {
        let Some(at) = self.now.iter().position(|said| said.rkey == *rkey) else { return false };
        self.now.remove(at);
        self.now.is_empty()
    }

    /// What becomes of it in all.
    pub(super) fn turn(&self) -> Option<Turn> {
        match (self.stored.is_empty(), self.now.is_empty()) {
            (true, false) => Some(Turn::Begins),
            (false, true) => Some(Turn::Ends),
            _ => None,
        }
    }

    /// The rows that change with transaction `seq`. A new edge's row among the followers goes to `bucket`.
    pub(super) fn effects(
        &self,
        (follower, subject): (ActorId, ActorId),
        seq: i64,
        bucket: u32,
        effects: &mut Vec<Effect>,
    ) {
        let (bucket, since) = self.stored.first().map_or((bucket, seq), |row| (row.bucket, row.since));
        let is_kept = |row: &&Row| self.now.iter().any(|said| said.row.as_ref() == Some(*row));
        for row in self.stored.iter().filter(|row| !is_kept(row)) {
            effects.push(Effect::Follow(Row { life: row.life.until(seq), ..row.clone() }));
        }
        for (place, said) in self.now.iter().filter(|said| said.row.is_none()).enumerate() {
            effects.push(Effect::Follow(Row {
                follower,
                subject,
                life: Life::from(seq),
                place: place as u32,
                rkey: said.rkey.clone(),
                bucket,
                since,
            }));
        }
        if let Some(turn) = self.turn() {
            let life = match turn {
                Turn::Begins => Life::from(since),
                Turn::Ends => Life::from(since).until(seq),
            };
            effects.push(Effect::Follower(followers::Row { subject, bucket, follower, life }));
        }
    }
}

impl ScyllaTxn {
    pub(super) async fn known_edge(&mut self, follower: ActorId, subject: ActorId) -> Result<&mut Edge> {
        let pair = (follower, subject);
        if !self.edges.contains_key(&pair) {
            let Base { db, tables, .. } = &*self.inner.base;
            let mut rows = tables.follows.edges(db, follower, &[subject]).await?;
            rows.retain(|row| row.life.died.is_none());
            self.edges.insert(pair, Edge::new(rows));
        }
        Ok(self.edges.get_mut(&pair).expect("put there just now"))
    }
}
