//! Follow edges in a transaction: an edge lives as long as one of its records, and its records may be very many.

use std::ops::Bound;

use skyweir_store::{RecordBody, Result};
use skyweir_types::{ActorId, Collection, RecordKey, RecordRef};

use super::EmbeddedTxn;
use crate::codec::{rkey_tid, tid_rkey};
use crate::db::Read;
use crate::error::corrupt;
use crate::hinted;
use crate::table::duplicates::Row;
use crate::table::follow_blocks::FollowBlocks;
use crate::table::follows::{Edge, Hint, Keyed};
use crate::table::{Table, after_prefix, blocks, duplicates, followers, follows, records};

/// How an edge is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Row,
    Block,
}

impl EmbeddedTxn {
    /// Adds a record. Returns whether the edge is new.
    pub(super) fn add_to_edge(
        &mut self,
        follower: ActorId,
        subject: ActorId,
        rkey: &RecordKey,
    ) -> Result<bool> {
        let mut edge = match self.edge(follower, subject)? {
            Some((Edge::Keyed(edge), _)) => edge,
            Some((Edge::Hinted(hint), place)) => match self.other_record(follower, subject, hint, rkey)? {
                Some(first) => {
                    self.remove_edge(follower, subject, place)?;
                    Keyed::one(first)
                }
                None if hint.fits(rkey) => return Ok(false),
                None => return Err(hinted::lost(follower, subject)),
            },
            None => {
                let edge = Edge::new(rkey, self.head(follower)?.follows);
                self.put_edge(follower, subject, &edge);
                self.set_follower(subject, follower, true)?;
                self.count_edge(follower, subject, 1)?;
                return Ok(true);
            }
        };
        if edge.first != *rkey && self.duplicate(follower, subject, rkey)?.is_none() {
            edge.last += 1;
            let (by_arrival, by_key) = (
                duplicates::arrival_key(follower, subject, edge.last),
                duplicates::record_key(follower, subject, rkey),
            );
            self.overlay.put(Table::Duplicates, by_arrival, duplicates::encode_rkey(rkey));
            self.overlay.put(Table::Duplicates, by_key, edge.last.to_be_bytes().to_vec());
            self.put_edge(follower, subject, &Edge::Keyed(edge));
        }
        Ok(false)
    }

    /// Takes a record away. Returns whether the edge is gone with it.
    pub(super) fn remove_from_edge(
        &mut self,
        follower: ActorId,
        subject: ActorId,
        rkey: &RecordKey,
    ) -> Result<bool> {
        let (mut edge, place) = match self.edge(follower, subject)? {
            Some((Edge::Keyed(edge), place)) => (edge, place),
            Some((Edge::Hinted(hint), place)) => {
                let is_it = hint.fits(rkey)
                    && (self.is_follow(follower, subject, rkey)?
                        || self.other_record(follower, subject, hint, rkey)?.is_none());
                return if is_it { self.end_edge(follower, subject, place) } else { Ok(false) };
            }
            None => return Ok(false),
        };
        if edge.first != *rkey {
            if let Some(number) = self.duplicate(follower, subject, rkey)? {
                self.remove_duplicate(follower, subject, number, rkey);
            }
            return Ok(false);
        }
        let heir = self.oldest_duplicate(follower, subject, &edge)?;
        if let Some((number, heir)) = heir {
            self.remove_duplicate(follower, subject, number, &heir);
            (edge.first, edge.gone) = (heir, number);
            self.put_edge(follower, subject, &Edge::Keyed(edge));
            return Ok(false);
        }
        self.end_edge(follower, subject, place)
    }

    fn end_edge(&mut self, follower: ActorId, subject: ActorId, place: Kept) -> Result<bool> {
        self.remove_edge(follower, subject, place)?;
        self.set_follower(subject, follower, false)?;
        self.count_edge(follower, subject, -1)?;
        Ok(true)
    }

    /// Writes the row that says whether somebody follows an author.
    fn set_follower(&mut self, author: ActorId, follower: ActorId, there: bool) -> Result<()> {
        let mut head = self.head(author)?;
        let layer = head.packed.map_or(0, |packed| packed.layer);
        let key = followers::row_key(author, layer, follower.0);
        if let Some(packed) = &mut head.packed {
            packed.rows = packed.rows.saturating_add(1);
            self.set_head(author, head);
        } else if !there {
            self.overlay.remove(Table::Followers, key);
            return Ok(());
        }
        self.overlay.put(Table::Followers, key, followers::encode_row(there));
        Ok(())
    }

    fn edge(&mut self, follower: ActorId, subject: ActorId) -> Result<Option<(Edge, Kept)>> {
        if self.head(follower)?.follows == 0 || self.head(subject)?.followers == 0 {
            return Ok(None);
        }
        if let Some(bytes) = self.overlay.get(Table::Follows, &follows::key(follower, subject))? {
            return Ok(Some((follows::decode(&bytes)?, Kept::Row)));
        }
        if self.head(follower)?.folded.is_none() {
            return Ok(None);
        }
        let packed = blocks::find::<FollowBlocks>(&self.overlay, follower, subject.0.into())?;
        Ok(packed.map(|entry| (Edge::Hinted(entry.hint), Kept::Block)))
    }

    fn remove_edge(&mut self, follower: ActorId, subject: ActorId, place: Kept) -> Result<()> {
        match place {
            Kept::Row => self.overlay.remove(Table::Follows, follows::key(follower, subject).to_vec()),
            Kept::Block => {
                blocks::take::<FollowBlocks>(&mut self.overlay, follower, subject.0.into())?;
            }
        }
        Ok(())
    }

    /// Whether a stored record is a living follow of the subject: then it is the one of an edge that has only one.
    fn is_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        let record = RecordRef { actor: follower, collection: Collection::Follow, rkey: rkey.clone() };
        let (row, _) = self.stored(&records::key(&record), &record)?;
        Ok(row.is_some_and(|row| row.body == RecordBody::Follow { subject }))
    }

    /// The record that an edge hints at, if it isn't this one.
    fn other_record(
        &self,
        follower: ActorId,
        subject: ActorId,
        hint: Hint,
        rkey: &RecordKey,
    ) -> Result<Option<RecordKey>> {
        let (own, mut found) = (rkey_tid(rkey), None);
        hinted::visit(&self.overlay, follower, hint, &mut |tid, other| {
            found = Some(tid).filter(|_| other == subject && own != Some(tid));
            Ok(found.is_none())
        })?;
        found.map(tid_rkey).transpose()
    }

    fn put_edge(&mut self, follower: ActorId, subject: ActorId, edge: &Edge) {
        self.overlay.put(Table::Follows, follows::key(follower, subject).to_vec(), follows::encode(edge));
    }

    /// The number of a further record of an edge; `None` if it is none.
    fn duplicate(&self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<Option<u64>> {
        let stored = self.overlay.get(Table::Duplicates, &duplicates::record_key(follower, subject, rkey))?;
        stored.map(|bytes| duplicates::decode_number(&bytes)).transpose()
    }

    /// The oldest further record of an edge.
    fn oldest_duplicate(
        &self,
        follower: ActorId,
        subject: ActorId,
        edge: &Keyed,
    ) -> Result<Option<(u64, RecordKey)>> {
        if edge.gone >= edge.last {
            return Ok(None);
        }
        let from = duplicates::arrival_key(follower, subject, edge.gone);
        let mut oldest = None;
        let to = after_prefix(&duplicates::prefix(follower, subject));
        self.overlay.scan(Table::Duplicates, Bound::Excluded(&from), to.as_deref(), &mut |key, value| {
            if let (_, _, Row::Arrival(number)) = duplicates::read_key(key)? {
                oldest = Some((number, duplicates::decode_rkey(value)?));
            }
            Ok(false)
        })?;
        Ok(oldest)
    }

    fn remove_duplicate(&mut self, follower: ActorId, subject: ActorId, number: u64, rkey: &RecordKey) {
        self.overlay.remove(Table::Duplicates, duplicates::arrival_key(follower, subject, number));
        self.overlay.remove(Table::Duplicates, duplicates::record_key(follower, subject, rkey));
    }

    fn count_edge(&mut self, follower: ActorId, subject: ActorId, by: i32) -> Result<()> {
        let short = || corrupt("more edges end than began");
        let mut head = self.head(follower)?;
        head.follows = head.follows.checked_add_signed(by).ok_or_else(short)?;
        self.set_head(follower, head);
        let mut head = self.head(subject)?;
        head.followers = head.followers.checked_add_signed(by).ok_or_else(short)?;
        self.set_head(subject, head);
        Ok(())
    }
}
