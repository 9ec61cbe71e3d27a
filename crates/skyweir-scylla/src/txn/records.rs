//! Records, their tombstones, and reposts as a transaction changes them. Pages are of what is stored and of what the
//! transaction has changed, merged.

use std::ops::Bound;

use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::{ActorId, Collection, RecordKey, RecordRef};

use super::{Record, ScyllaTxn};
use crate::base::Base;
use crate::table::tombstones::bucket;

/// How many rows one request asks for at most.
const PAGE_MOST: usize = 2_000;
/// How many partitions of tombstones are listed at a time: more than three days of them.
const BUCKETS_MOST: i32 = 1_000;

/// When a record was deleted, if it was.
pub(super) fn deleted_at(row: Option<&RecordRow>) -> Option<i64> {
    match row?.body {
        RecordBody::Tombstone { at_ms } => Some(at_ms),
        _ => None,
    }
}

/// The first `n` of what is stored and of ours. What is stored was read up to `last`, or whole.
fn merge<K: Ord, V>(
    mut stored: Vec<(K, V)>,
    ours: impl Iterator<Item = (K, V)>,
    last: Option<&K>,
    n: usize,
) -> Vec<(K, V)> {
    stored.extend(ours.filter(|(key, _)| last.is_none_or(|last| key <= last)));
    stored.sort_by(|a, b| a.0.cmp(&b.0));
    stored.truncate(n);
    stored
}

impl ScyllaTxn {
    pub(super) async fn known_record(&mut self, key: &RecordRef) -> Result<&mut Record> {
        if !self.records.contains_key(key) {
            let Base { db, tables, .. } = &*self.inner.base;
            let stored = tables.records.at(db, key, i64::MAX).await?;
            let now = stored.as_ref().map(|stored| stored.row.clone());
            self.records.insert(key.clone(), Record { stored, now });
        }
        Ok(self.records.get_mut(key).expect("put there just now"))
    }

    pub(super) async fn write_record(&mut self, key: &RecordRef, row: Option<RecordRow>) -> Result<()> {
        if let Some(at_ms) = deleted_at(row.as_ref()) {
            self.writer.oldest_tombstone = self.writer.oldest_tombstone.min(at_ms);
        }
        self.known_record(key).await?.now = row;
        Ok(())
    }

    pub(super) async fn records_page(
        &mut self,
        actor: ActorId,
        after: Option<(Collection, RecordKey)>,
        n: usize,
    ) -> Result<Vec<(RecordRef, RecordRow)>> {
        let Base { db, tables, .. } = &*self.inner.base;
        let (mut stored, mut last) = (Vec::new(), after.clone());
        let mut is_read = n == 0;
        while !is_read && stored.len() < n {
            let rows = (n - stored.len()).saturating_add(8).min(PAGE_MOST);
            let (page, end) = tables.records.page(db, actor, last.as_ref(), rows).await?;
            is_read = end.is_none();
            last = end.map(|key| (key.collection, key.rkey));
            let page = page.into_iter().filter(|(key, _)| !self.records.contains_key(key));
            stored.extend(page.map(|(key, stored)| (key, stored.row)));
        }
        let last = last.map(|(collection, rkey)| RecordRef { actor, collection, rkey });
        let ours = self.records.iter().filter(|(key, _)| {
            let place = (key.collection, &key.rkey);
            key.actor == actor && after.as_ref().is_none_or(|(collection, rkey)| place > (*collection, rkey))
        });
        let ours = ours.filter_map(|(key, record)| Some((key.clone(), record.now.clone()?)));
        Ok(merge(stored, ours, last.as_ref().filter(|_| !is_read), n))
    }

    pub(super) async fn tombstones_page(&mut self, before_ms: i64, n: usize) -> Result<Vec<RecordRef>> {
        let Base { db, tables, .. } = &*self.inner.base;
        let (oldest, mut first) = (self.writer.oldest_tombstone, None);
        let mut stored: Vec<((i64, RecordRef), ())> = Vec::new();
        let mut from = bucket(oldest);
        while stored.len() < n {
            let buckets = tables.tombstones.buckets(db, from, bucket(before_ms), BUCKETS_MOST).await?;
            for bucket in &buckets {
                if stored.len() >= n {
                    break;
                }
                let mut after: Option<(i64, RecordRef)> = None;
                let mut is_empty = true;
                loop {
                    let rows = (n - stored.len()).saturating_add(8).min(PAGE_MOST);
                    let rows = rows as i32;
                    let page = tables.tombstones.page(db, *bucket, oldest, after.as_ref(), rows).await?;
                    let is_last = page.len() < rows as usize;
                    is_empty &= page.is_empty();
                    first = first.or_else(|| page.first().map(|(at_ms, _)| *at_ms));
                    after = page.last().cloned().or(after);
                    let old = page
                        .into_iter()
                        .filter(|(at_ms, key)| *at_ms < before_ms && !self.records.contains_key(key));
                    stored.extend(old.map(|found| (found, ())));
                    if is_last || stored.len() >= n {
                        break;
                    }
                }
                if is_empty {
                    self.emptied.insert(*bucket);
                }
            }
            match buckets.last() {
                Some(last) if buckets.len() == BUCKETS_MOST as usize => from = last + 1,
                _ => break,
            }
        }
        if n > 0 {
            // what this one removes is still stored, and what it brings is stored soon
            let ours = self.records.values().filter_map(|record| deleted_at(record.now.as_ref()));
            let first = first.into_iter().chain(ours).fold(before_ms, i64::min);
            self.writer.oldest_tombstone = oldest.max(first);
        }
        let is_read = stored.len() < n;
        let last = stored.last().map(|(found, ())| found.clone()).filter(|_| !is_read);
        let ours = self.records.iter().filter_map(|(key, record)| {
            let at_ms = deleted_at(record.now.as_ref()).filter(|at_ms| *at_ms < before_ms)?;
            Some(((at_ms, key.clone()), ()))
        });
        let found = merge(stored, ours, last.as_ref(), n);
        Ok(found.into_iter().map(|((_, key), ())| key).collect())
    }

    pub(super) async fn reposts_page(
        &mut self,
        post: &RecordRef,
        after: Option<&RecordRef>,
        n: usize,
    ) -> Result<Vec<RecordRef>> {
        let Base { db, tables, .. } = &*self.inner.base;
        let changed = self.reposts.get(post);
        let (mut stored, mut last) = (Vec::new(), after.cloned());
        let mut is_read = n == 0;
        while !is_read && stored.len() < n {
            let rows = (n - stored.len()).saturating_add(8).min(PAGE_MOST);
            let page = tables.reposts.page(db, post, last.as_ref(), rows).await?;
            is_read = page.len() < rows;
            last = page.last().cloned().or(last);
            let ours = |repost: &RecordRef| changed.is_some_and(|changed| changed.contains_key(repost));
            stored.extend(page.into_iter().filter(|repost| !ours(repost)).map(|repost| (repost, ())));
        }
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let ours = changed.into_iter().flat_map(|changed| changed.range::<RecordRef, _>(from));
        let ours = ours.filter(|(_, is_there)| **is_there).map(|(repost, _)| (repost.clone(), ()));
        let found = merge(stored, ours, last.as_ref().filter(|_| !is_read), n);
        Ok(found.into_iter().map(|(repost, ())| repost).collect())
    }
}
