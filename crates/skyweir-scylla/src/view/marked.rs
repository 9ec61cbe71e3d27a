//! Accounts that a view finds by a mark.

use skyweir_store::{Result, SyncMark};
use skyweir_types::ActorId;

use super::{PAGE_MOST, ScyllaView};
use crate::base::Base;
use crate::codec::actor_column;
use crate::table::accounts::Head;
use crate::table::marks::{Mark, slices};

impl ScyllaView {
    pub(super) async fn those_that_follow_more(&self, limit: u32, n: usize) -> Result<Vec<(ActorId, u32)>> {
        let Some(Mark::Follows(least)) = Mark::of_follows(limit.saturating_add(1)) else {
            return Ok(Vec::new());
        };
        let marks: Vec<Mark> = (least..=Mark::MOST).map(Mark::Follows).collect();
        self.marked(&marks, n, |head| Some(head.follows).filter(|follows| *follows > limit)).await
    }

    pub(super) async fn those_under_way(&self, n: usize) -> Result<Vec<(ActorId, SyncMark)>> {
        self.marked(&[Mark::Sync], n, |head| head.row.sync).await
    }

    /// Accounts with one of these marks, and what is wanted of each; those that have nothing of it are left out.
    async fn marked<T: Send>(
        &self,
        marks: &[Mark],
        n: usize,
        wanted: impl Fn(&Head) -> Option<T> + Send + Sync,
    ) -> Result<Vec<(ActorId, T)>> {
        let Base { db, tables, .. } = &*self.base;
        let mut found = Vec::new();
        for slice in slices(self.moment.actors) {
            for mark in marks {
                let mut after = (-1, 0);
                loop {
                    if found.len() >= n {
                        found.truncate(n);
                        return Ok(found);
                    }
                    let page = tables.marks.page(db, *mark, slice, after, PAGE_MOST as i32).await?;
                    let is_last = page.len() < PAGE_MOST;
                    if let Some((last, life)) = page.last() {
                        after = (actor_column(*last), life.born);
                    }
                    let shown: Vec<ActorId> = page
                        .into_iter()
                        .filter(|(_, life)| self.shows(*life))
                        .map(|(actor, _)| actor)
                        .collect();
                    let accounts =
                        db.each(shown.len(), |at| tables.accounts.at(db, shown[at], self.moment.seq)).await?;
                    let pairs = shown.into_iter().zip(accounts);
                    found.extend(pairs.filter_map(|(actor, stored)| Some((actor, wanted(&stored.head)?))));
                    if is_last {
                        break;
                    }
                }
            }
        }
        found.truncate(n);
        Ok(found)
    }
}
