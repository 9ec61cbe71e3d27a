//! The tables of a load, each written in the order of its keys.

use std::path::Path;

use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::{ActorId, Collection, Did, RecordRef, Tid};

use super::sorter::{Row, Sorter};
use super::{BulkProgress, FollowRow, Other, Others};
use crate::codec::tid_rkey;
use crate::db::{Db, Ingest};
use crate::table::blocks::{self, Packed as _};
use crate::table::follow_blocks::{self, FollowBlocks};
use crate::table::follows::Edge;
use crate::table::heads::{Bounds, Folded, Head, Packed};
use crate::table::record_blocks::{self, RecordBlocks};
use crate::table::{Table, actors, followers, follows, meta, records};

/// Progress is told after so many rows.
const STEP: u64 = 1 << 20;

type Tell<'a> = &'a mut (dyn FnMut(BulkProgress) + Send);

/// An edge as it waits to be sorted by subject: subject and follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EdgeRow(u64);

impl EdgeRow {
    fn author(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Row for EdgeRow {
    const BYTES: usize = 8;

    fn write(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }
}

/// How many each account follows, and how many follow it; its last record.
pub(super) struct Counts {
    follows: Vec<u32>,
    followers: Vec<u32>,
    /// The greatest key of each account's follow records.
    last: Vec<Tid>,
}

/// Writes the records and both edge sets. Further records of an edge go to `others`.
pub(super) fn write(
    db: &Db,
    folder: &Path,
    memory: usize,
    rows: Sorter<FollowRow>,
    accounts: usize,
    others: &mut Others,
    tell: Tell<'_>,
) -> Result<Counts> {
    let of = rows.pushed();
    let mut counts =
        Counts { follows: vec![0; accounts], followers: vec![0; accounts], last: vec![Tid::ZERO; accounts] };
    let mut edges = Sorter::new(folder, "followers", memory);
    let mut follows = Follows::begin(db)?;
    let mut sorted = rows.sorted()?;
    let mut next = sorted.next()?;
    let mut done = 0;
    let mut of_one = Vec::new();
    while let Some(first) = next {
        // the records of one follower, which are few enough to be in memory: an account can't follow more than all
        of_one.clear();
        let mut held: Option<FollowRow> = None;
        while let Some(row) = next.filter(|row| row.follower == first.follower) {
            done += 1;
            if done % STEP == 0 {
                tell(BulkProgress { stage: "records and follows", done, of });
            }
            // one key twice: the later rev counts
            if let Some(before) = held.replace(row).filter(|before| before.rkey != row.rkey) {
                of_one.push(before);
            }
            next = sorted.next()?;
        }
        of_one.extend(held);
        keep_one_each(&mut of_one, others)?;
        follows.write(ActorId(first.follower), &of_one)?;
        for row in &of_one {
            edges.push(EdgeRow(u64::from(row.subject) << 32 | u64::from(row.follower)))?;
        }
        counts.follows[first.follower as usize] = of_one.len() as u32;
        counts.last[first.follower as usize] = of_one.last().map_or(Tid::ZERO, |row| Tid(row.rkey));
    }
    follows.finish()?;
    by_author(db, edges, &mut counts.followers, tell)?;
    Ok(counts)
}

/// The tables of records and follows: blocks for accounts that follow many, rows for the others.
struct Follows<'a> {
    records: Ingest<'a>,
    record_blocks: Ingest<'a>,
    edges: Ingest<'a>,
    edge_blocks: Ingest<'a>,
}

impl<'a> Follows<'a> {
    fn begin(db: &'a Db) -> Result<Self> {
        Ok(Self {
            records: db.ingest(Table::Records)?,
            record_blocks: db.ingest(Table::RecordBlocks)?,
            edges: db.ingest(Table::Follows)?,
            edge_blocks: db.ingest(Table::FollowBlocks)?,
        })
    }

    /// Writes what an account follows, one record for each edge, in the order of their keys.
    fn write(&mut self, follower: ActorId, of_one: &[FollowRow]) -> Result<()> {
        let is_packed = has_blocks_of_follows(of_one.len() as u32);
        let (mut packed, mut packed_edges) = (Vec::new(), Vec::new());
        let mut edges = Vec::with_capacity(of_one.len());
        for (before, row) in of_one.iter().enumerate() {
            let (place, subject) = (place(row)?, ActorId(row.subject));
            edges.push((subject, Edge::new(&place.rkey, before as u32)));
            let body = RecordBody::Follow { subject };
            let record = RecordRow { rev: Tid(row.rev), wiped: Tid::ZERO, body };
            match record_blocks::Entry::of(Tid(row.rkey), &record).filter(|_| is_packed) {
                Some(entry) => packed.push(entry),
                None => self.records.put(&records::key(&place), &records::encode(&place.rkey, &record))?,
            }
        }
        edges.sort_unstable_by_key(|(subject, _)| *subject);
        for (subject, edge) in edges {
            match edge {
                Edge::Hinted(hint) if is_packed => packed_edges.push(follow_blocks::Entry { subject, hint }),
                edge => self.edges.put(&follows::key(follower, subject), &follows::encode(&edge))?,
            }
        }
        for (key, block) in blocks::split::<RecordBlocks>(follower, &packed, RecordBlocks::LAST) {
            self.record_blocks.put(&key, &block)?;
        }
        for (key, block) in blocks::split::<FollowBlocks>(follower, &packed_edges, FollowBlocks::LAST) {
            self.edge_blocks.put(&key, &block)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let Self { records, record_blocks, edges, edge_blocks } = self;
        [records, record_blocks, edges, edge_blocks].into_iter().try_for_each(Ingest::finish)
    }
}

fn has_blocks_of_follows(follows: u32) -> bool {
    follows >= blocks::FIRST
}

/// Leaves the oldest record of each edge, in the order of the keys, and hands the others on.
fn keep_one_each(of_one: &mut Vec<FollowRow>, others: &mut Others) -> Result<()> {
    of_one.sort_unstable_by_key(|row| (row.subject, row.rkey));
    let further = |pair: &[FollowRow]| pair[0].subject == pair[1].subject;
    for row in of_one.windows(2).filter(|pair| further(pair)).map(|pair| pair[1]) {
        let (follower, subject) = (ActorId(row.follower), ActorId(row.subject));
        others.push(&Other { follower, subject, rkey: place(&row)?.rkey, rev: Tid(row.rev) })?;
    }
    of_one.dedup_by_key(|row| row.subject);
    of_one.sort_unstable_by_key(|row| row.rkey);
    Ok(())
}

fn place(row: &FollowRow) -> Result<RecordRef> {
    let rkey = tid_rkey(Tid(row.rkey))?;
    Ok(RecordRef { actor: ActorId(row.follower), collection: Collection::Follow, rkey })
}

/// Writes who follows whom: blocks for authors with many followers, rows for the others.
fn by_author(db: &Db, edges: Sorter<EdgeRow>, counts: &mut [u32], tell: Tell<'_>) -> Result<()> {
    let of = edges.pushed();
    let (mut rows, mut blocks) = (db.ingest(Table::Followers)?, db.ingest(Table::FollowerBlocks)?);
    let mut sorted = edges.sorted()?;
    let mut next = sorted.next()?;
    let mut done = 0;
    let mut members = Vec::new();
    while let Some(first) = next {
        let author = ActorId(first.author());
        members.clear();
        while let Some(edge) = next.filter(|edge| edge.author() == author.0) {
            members.push(edge.0 as u32);
            next = sorted.next()?;
            done += 1;
            if done % STEP == 0 {
                tell(BulkProgress { stage: "followers", done, of });
            }
        }
        counts[author.0 as usize] = members.len() as u32;
        if is_packed(members.len() as u32) {
            followers::blocks(author, &members).try_for_each(|(key, block)| blocks.put(&key, &block))?;
        } else {
            let mut put = |member: &u32| {
                rows.put(&followers::row_key(author, 0, *member), &followers::encode_row(true))
            };
            members.iter().try_for_each(&mut put)?;
        }
    }
    rows.finish()?;
    blocks.finish()
}

/// Whether so many followers are in blocks.
fn is_packed(followers: u32) -> bool {
    followers > followers::FIRST
}

/// Writes the accounts: DIDs, numbers and counts.
pub(super) fn accounts(db: &Db, mut dids: Vec<Did>, counts: &Counts, tell: Tell<'_>) -> Result<()> {
    let of = dids.len() as u64;
    let mut heads = db.ingest(Table::Heads)?;
    let mut by_number = db.ingest(Table::Actors)?;
    for (number, did) in dids.iter().enumerate() {
        let key = actors::number(ActorId(number as u32));
        by_number.put(&key, did.as_str().as_bytes())?;
        let (follows, followers) = (counts.follows[number], counts.followers[number]);
        let packed = is_packed(followers).then(Packed::default);
        let last = counts.last[number];
        let folded = has_blocks_of_follows(follows).then_some(Folded { last, ..Folded::default() });
        let bounds = Some(Bounds { key_us: last.micros(), wiped: Tid::ZERO });
        heads.put(&key, &Head { follows, followers, packed, folded, bounds, ..Head::default() }.encode())?;
    }
    heads.finish()?;
    by_number.finish()?;
    tell(BulkProgress { stage: "accounts", done: of / 2, of });
    let mut numbers: Vec<u32> = (0..dids.len() as u32).collect();
    numbers.sort_unstable_by(|a, b| dids[*a as usize].as_str().cmp(dids[*b as usize].as_str()));
    let mut by_did = db.ingest(Table::Dids)?;
    for number in &numbers {
        by_did.put(dids[*number as usize].as_str().as_bytes(), &actors::number(ActorId(*number)))?;
    }
    by_did.finish()?;
    dids.clear();
    let mut batch = db.synced_batch(1);
    batch.put(Table::Meta, meta::KEY_ACTORS, of.to_be_bytes());
    batch.commit()?;
    tell(BulkProgress { stage: "accounts", done: of, of });
    Ok(())
}
