//! Follows and followers as a view shows them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use skyweir_store::Result;
use skyweir_types::{ActorId, RecordKey};

use super::{KEYS_MOST, PAGE_MOST, ScyllaView};
use crate::base::Base;
use crate::codec::actor_column;
use crate::table::follows::Entry;

/// One bucket of followers, being read.
struct Bucket {
    number: u32,
    /// Read, and not given out.
    found: VecDeque<ActorId>,
    /// The last row that was read.
    after: (i32, i64),
    is_read: bool,
}

impl ScyllaView {
    pub(super) async fn follows_page(
        &self,
        viewer: ActorId,
        after: Option<ActorId>,
        n: usize,
    ) -> Result<Vec<ActorId>> {
        let Base { db, tables, .. } = &*self.base;
        let (mut found, mut after): (Vec<ActorId>, _) = (Vec::new(), after.map(Entry::behind));
        while found.len() < n {
            let rows = (n - found.len()).saturating_add(8).min(PAGE_MOST);
            let page = tables.follows.page(db, viewer, after, rows as i32).await?;
            let is_last = page.len() < rows;
            after = page.last().copied().or(after);
            for entry in page.into_iter().filter(|entry| self.shows(entry.life)) {
                // several records may say the same
                if found.last() != Some(&entry.subject) {
                    found.push(entry.subject);
                }
            }
            if is_last {
                break;
            }
        }
        found.truncate(n);
        Ok(found)
    }

    /// Merges the buckets, which are read side by side.
    pub(super) async fn followers_page(
        &self,
        author: ActorId,
        after: Option<ActorId>,
        n: usize,
    ) -> Result<Vec<ActorId>> {
        let Base { db, tables, .. } = &*self.base;
        let newest = tables.accounts.at(db, author, self.moment.seq).await?.head.bucket;
        let after = after.map_or((-1, 0), |after| (actor_column(after), i64::MAX));
        let new = |number| Bucket { number, found: VecDeque::new(), after, is_read: false };
        let mut buckets: Vec<Bucket> = (0..=newest).map(new).collect();
        // numbers are spread alike over all buckets, or nearly so
        let rows = (n / buckets.len()).saturating_mul(5) / 4 + 16;
        let (mut found, mut heads) = (Vec::new(), BinaryHeap::new());
        let mut empty: Vec<usize> = (0..buckets.len()).collect();
        while found.len() < n {
            let asked: Vec<&Bucket> = empty.iter().map(|at| &buckets[*at]).collect();
            let pages =
                db.each(asked.len(), |at| self.bucket_page(author, asked[at], rows.min(PAGE_MOST))).await?;
            for (at, (page, is_read, after)) in empty.drain(..).zip(pages) {
                let bucket = &mut buckets[at];
                bucket.found = page.into();
                (bucket.is_read, bucket.after) = (is_read, after);
                heads.extend(bucket.found.pop_front().map(|first| Reverse((first, at))));
            }
            while empty.is_empty() && found.len() < n {
                let Some(Reverse((follower, at))) = heads.pop() else { return Ok(found) };
                found.push(follower);
                match buckets[at].found.pop_front() {
                    Some(next) => heads.push(Reverse((next, at))),
                    None if buckets[at].is_read => {}
                    None => empty.push(at),
                }
            }
        }
        Ok(found)
    }

    /// The next followers of a bucket that this view shows, at least one unless it ends: with whether it does, and the
    /// last row read.
    async fn bucket_page(
        &self,
        author: ActorId,
        bucket: &Bucket,
        rows: usize,
    ) -> Result<(Vec<ActorId>, bool, (i32, i64))> {
        let Base { db, tables, .. } = &*self.base;
        let mut after = bucket.after;
        if bucket.is_read {
            return Ok((Vec::new(), true, after));
        }
        loop {
            let page = tables.followers.page(db, author, bucket.number, after, rows as i32).await?;
            let is_read = page.len() < rows;
            if let Some((last, life)) = page.last() {
                after = (actor_column(*last), life.born);
            }
            let shown = page.into_iter().filter(|(_, life)| self.shows(*life));
            let found: Vec<ActorId> = shown.map(|(follower, _)| follower).collect();
            if is_read || !found.is_empty() {
                return Ok((found, is_read, after));
            }
        }
    }

    pub(super) async fn oldest_records(
        &self,
        pairs: &[(ActorId, ActorId)],
    ) -> Result<Vec<Option<RecordKey>>> {
        let mut subjects: HashMap<ActorId, Vec<ActorId>> = HashMap::new();
        for (follower, subject) in pairs {
            subjects.entry(*follower).or_default().push(*subject);
        }
        let asks: Vec<(ActorId, &[ActorId])> = subjects
            .iter()
            .flat_map(|(follower, subjects)| subjects.chunks(KEYS_MOST).map(|some| (*follower, some)))
            .collect();
        let Base { db, tables, .. } = &*self.base;
        let rows = db.each(asks.len(), |at| tables.follows.edges(db, asks[at].0, asks[at].1)).await?;
        let mut oldest: HashMap<(ActorId, ActorId), RecordKey> = HashMap::new();
        for row in rows.into_iter().flatten().filter(|row| self.shows(row.life)) {
            oldest.entry((row.follower, row.subject)).or_insert(row.rkey);
        }
        Ok(pairs.iter().map(|pair| oldest.get(pair).cloned()).collect())
    }
}
