//! The tables of a load, each written in the order of its keys.

use std::path::Path;

use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::{ActorId, Collection, Did, RecordKey, RecordRef, Tid};

use super::sorter::{Row, Sorter};
use super::{BulkProgress, FollowRow, Other, Others};
use crate::db::Db;
use crate::error::corrupt;
use crate::table::follows::Edge;
use crate::table::heads::{Bounds, Head, Packed};
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
    let (mut by_key, mut by_subject) = (db.ingest(Table::Records)?, db.ingest(Table::Follows)?);
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
        let mut edges_of_one = Vec::with_capacity(of_one.len());
        for (follows, row) in of_one.iter().enumerate() {
            let place = place(row)?;
            let body = RecordBody::Follow { subject: ActorId(row.subject) };
            let value =
                records::encode(&place.rkey, &RecordRow { rev: Tid(row.rev), wiped: Tid::ZERO, body });
            by_key.put(&records::key(&place), &value)?;
            edges_of_one.push((row.subject, Edge::new(&place.rkey, follows as u32)));
        }
        edges_of_one.sort_unstable_by_key(|(subject, _)| *subject);
        for (subject, edge) in &edges_of_one {
            by_subject
                .put(&follows::key(ActorId(first.follower), ActorId(*subject)), &follows::encode(edge))?;
            edges.push(EdgeRow(u64::from(*subject) << 32 | u64::from(first.follower)))?;
        }
        counts.follows[first.follower as usize] = of_one.len() as u32;
        counts.last[first.follower as usize] = of_one.last().map_or(Tid::ZERO, |row| Tid(row.rkey));
    }
    by_key.finish()?;
    by_subject.finish()?;
    by_author(db, edges, &mut counts.followers, tell)?;
    Ok(counts)
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
    let rkey = RecordKey::parse(&Tid(row.rkey).to_string()).map_err(corrupt)?;
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
        let bounds = Some(Bounds { key_us: counts.last[number].micros(), wiped: Tid::ZERO });
        heads.put(&key, &Head { follows, followers, packed, bounds, ..Head::default() }.encode())?;
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
