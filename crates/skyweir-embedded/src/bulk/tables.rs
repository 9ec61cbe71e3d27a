//! The tables of a load, each written in the order of its keys.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::{ActorId, Tid};

use super::BulkProgress;
use super::columns::Columns;
use super::fold::{Folded, Plain};
use super::keys::Keys;
use super::names::Names;
use super::others::Others;
use super::rows::{Edge, Step};
use super::sorter::{Sorted, Sorter};
use crate::codec::tid_rkey;
use crate::db::{Db, Ingest};
use crate::table::blocks::{self, Packed as _};
use crate::table::follow_blocks::{self, FollowBlocks};
use crate::table::follows::{self, Hint, Keyed};
use crate::table::heads::{Bounds, Folded as Loose, Head, Packed};
use crate::table::record_blocks::{self, RecordBlocks};
use crate::table::{Table, actors, followers, meta, records};

/// Progress is told after so many rows.
const STEP: u64 = 1 << 20;
/// So many records are handed from thread to thread together, or those of one account if these are more.
const BATCH: usize = 1 << 16;

type Tell<'a> = &'a mut (dyn FnMut(BulkProgress) + Send);

/// What is loaded.
pub(super) struct Loaded {
    pub(super) steps: Sorter<Step>,
    pub(super) keys: Keys,
    pub(super) names: Names,
    pub(super) columns: Columns,
    /// Tombstones of before this time, milliseconds, are forgotten.
    pub(super) before_ms: i64,
}

/// How many each account follows, and how many follow it; its last record.
struct Counts {
    follows: Vec<u32>,
    followers: Vec<u32>,
    /// The greatest key of each account's follow records.
    last: Vec<Tid>,
}

/// Writes all tables; what has to take the usual path goes to `others`.
pub(super) fn write(
    db: &Db,
    folder: &Path,
    memory: usize,
    loaded: Loaded,
    others: &mut Others,
    tell: Tell<'_>,
) -> Result<()> {
    let Loaded { steps, keys, names, columns, before_ms } = loaded;
    let of = steps.pushed();
    let accounts = columns.len();
    let mut counts =
        Counts { follows: vec![0; accounts], followers: vec![0; accounts], last: vec![Tid::ZERO; accounts] };
    let mut edges = Sorter::new(folder, "followers", memory);
    let sorted = steps.sorted(true)?;
    thread::scope(|scope| {
        let (sender, batches) = sync_channel(2);
        let folding = scope.spawn(move || fold(sorted, keys, before_ms, &sender));
        let written = by_account(db, &batches, &mut counts, &mut edges, others, of, tell);
        // whoever waits for room learns that nobody takes anything any more
        drop(batches);
        let folded = folding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        folded.and(written)
    })?;
    thread::scope(|scope| {
        let naming = scope.spawn(|| write_names(db, names));
        let written = by_author(db, edges, &mut counts.followers, tell);
        let named = naming.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(named)
    })?;
    heads(db, &columns, &counts)?;
    let of = accounts as u64;
    let mut batch = db.synced_batch(1);
    batch.put(Table::Meta, meta::KEY_ACTORS, of.to_be_bytes());
    batch.commit()?;
    tell(BulkProgress { stage: "accounts", done: of, of });
    Ok(())
}

/// Merges the steps, and hands on what is left of them.
fn fold(mut sorted: Sorted<Step>, mut keys: Keys, before_ms: i64, sender: &SyncSender<Folded>) -> Result<()> {
    let mut steps = Vec::new();
    let mut batch = Folded::default();
    loop {
        // the steps of one account, which are few enough to be in memory
        steps.clear();
        let next = sorted.next(&mut steps)?;
        if let Some(actor) = next {
            batch.add(ActorId(actor), &steps, before_ms, &mut |at| keys.read(at))?;
        }
        if next.is_none() || batch.steps >= BATCH {
            let full = std::mem::take(&mut batch);
            // nobody takes it: the writer has failed, and says why
            if sender.send(full).is_err() || next.is_none() {
                return Ok(());
            }
        }
    }
}

/// Writes the records and whom accounts follow.
fn by_account(
    db: &Db,
    batches: &Receiver<Folded>,
    counts: &mut Counts,
    edges: &mut Sorter<Edge>,
    others: &mut Others,
    of: u64,
    tell: Tell<'_>,
) -> Result<()> {
    let mut follows = Follows::begin(db)?;
    let (mut done, mut told) = (0, 0);
    for batch in batches {
        let mut start = 0;
        for (follower, end) in &batch.accounts {
            let (plain, by_subject) = (&batch.plain[start..*end], &batch.by_subject[start..*end]);
            follows.write(*follower, plain, by_subject)?;
            for record in plain {
                edges.push(Edge::new(follower.0, record.subject));
            }
            counts.follows[follower.0 as usize] = plain.len() as u32;
            counts.last[follower.0 as usize] = plain.last().map_or(Tid::ZERO, |record| record.tid);
            start = *end;
        }
        if edges.is_full() {
            edges.spill(|| Ok(()))?;
        }
        batch.others.iter().try_for_each(|other| others.push(other))?;
        done += batch.steps as u64;
        if done - told >= STEP {
            told = done;
            tell(BulkProgress { stage: "records and follows", done, of });
        }
    }
    follows.finish()
}

/// The tables of records and follows: blocks for accounts that follow many, rows for the others.
struct Follows<'a> {
    records: Ingest<'a>,
    record_blocks: Ingest<'a>,
    edges: Ingest<'a>,
    edge_blocks: Ingest<'a>,
    packed: Vec<record_blocks::Entry>,
    packed_edges: Vec<follow_blocks::Entry>,
}

impl<'a> Follows<'a> {
    fn begin(db: &'a Db) -> Result<Self> {
        Ok(Self {
            records: db.ingest(Table::Records)?,
            record_blocks: db.ingest(Table::RecordBlocks)?,
            edges: db.ingest(Table::Follows)?,
            edge_blocks: db.ingest(Table::FollowBlocks)?,
            packed: Vec::new(),
            packed_edges: Vec::new(),
        })
    }

    /// Writes what an account follows, one record for each edge: its records by key, and by subject.
    fn write(&mut self, follower: ActorId, plain: &[Plain], by_subject: &[(u32, u32)]) -> Result<()> {
        let is_packed = has_blocks_of_follows(plain.len() as u32);
        self.packed.clear();
        self.packed_edges.clear();
        for record in plain {
            let body = RecordBody::Follow { subject: ActorId(record.subject) };
            let row = RecordRow { rev: record.rev, wiped: Tid::ZERO, body };
            match record_blocks::Entry::of(record.tid, &row).filter(|_| is_packed) {
                Some(entry) => self.packed.push(entry),
                None => self.records.put(
                    &records::follow_key(follower, record.tid),
                    &records::encode_follow(record.tid, &row),
                )?,
            }
        }
        for (subject, at) in by_subject {
            let (subject, tid) = (ActorId(*subject), plain[*at as usize].tid);
            let edge = match Hint::at_tid(tid, *at) {
                Some(hint) if is_packed => {
                    self.packed_edges.push(follow_blocks::Entry { subject, hint });
                    continue;
                }
                Some(hint) => follows::Edge::Hinted(hint),
                None => follows::Edge::Keyed(Keyed::one(tid_rkey(tid)?)),
            };
            self.edges.put(&follows::key(follower, subject), &follows::encode(&edge))?;
        }
        for (key, block) in blocks::split::<RecordBlocks>(follower, &self.packed, RecordBlocks::LAST) {
            self.record_blocks.put(&key, &block)?;
        }
        for (key, block) in blocks::split::<FollowBlocks>(follower, &self.packed_edges, FollowBlocks::LAST) {
            self.edge_blocks.put(&key, &block)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let Self { records, record_blocks, edges, edge_blocks, .. } = self;
        [records, record_blocks, edges, edge_blocks].into_iter().try_for_each(Ingest::finish)
    }
}

fn has_blocks_of_follows(follows: u32) -> bool {
    follows >= blocks::FIRST
}

/// Writes who follows whom: blocks for authors with many followers, rows for the others.
fn by_author(db: &Db, edges: Sorter<Edge>, counts: &mut [u32], tell: Tell<'_>) -> Result<()> {
    let of = edges.pushed();
    let (mut rows, mut blocks) = (db.ingest(Table::Followers)?, db.ingest(Table::FollowerBlocks)?);
    let mut sorted = edges.sorted(false)?;
    let (mut done, mut told) = (0, 0);
    let (mut of_one, mut members) = (Vec::new(), Vec::new());
    while let Some(author) = sorted.next(&mut of_one)? {
        let author = ActorId(author);
        members.extend(of_one.drain(..).map(Edge::follower));
        // each run has them in order
        members.sort_unstable();
        counts[author.0 as usize] = members.len() as u32;
        if is_packed(members.len() as u32) {
            followers::blocks(author, &members).try_for_each(|(key, block)| blocks.put(&key, &block))?;
        } else {
            let mut put = |member: &u32| {
                rows.put(&followers::row_key(author, 0, *member), &followers::encode_row(true))
            };
            members.iter().try_for_each(&mut put)?;
        }
        done += members.len() as u64;
        members.clear();
        if done - told >= STEP {
            told = done;
            tell(BulkProgress { stage: "followers", done, of });
        }
    }
    rows.finish()?;
    blocks.finish()
}

/// Whether so many followers are in blocks.
fn is_packed(followers: u32) -> bool {
    followers > followers::FIRST
}

fn write_names(db: &Db, names: Names) -> Result<()> {
    let (mut by_number, mut by_did) = (db.ingest(Table::Actors)?, db.ingest(Table::Dids)?);
    names.write(
        |actor, did| by_number.put(&actors::number(actor), did.as_bytes()),
        |did, actor| by_did.put(did.as_bytes(), &actors::number(actor)),
    )?;
    by_number.finish()?;
    by_did.finish()
}

/// Writes what changes about accounts. Resyncs under way have a table of their own, and take the usual path.
fn heads(db: &Db, columns: &Columns, counts: &Counts) -> Result<()> {
    let mut heads = db.ingest(Table::Heads)?;
    for number in 0..columns.len() {
        let actor = ActorId(number as u32);
        let (follows, followers) = (counts.follows[number], counts.followers[number]);
        let packed = is_packed(followers).then(Packed::default);
        let last = counts.last[number];
        let folded = has_blocks_of_follows(follows).then_some(Loose { last, ..Loose::default() });
        let bounds = Some(Bounds { key_us: last.micros(), wiped: Tid::ZERO });
        let mut row = columns.row(actor);
        row.sync = None;
        let head = Head { row, follows, followers, packed, folded, bounds, ..Head::default() };
        heads.put(&actors::number(actor), &head.encode())?;
    }
    heads.finish()
}
