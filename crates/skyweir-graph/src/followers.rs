//! Paging through an author's followers.

use std::sync::Arc;

use skyweir_store::{Result, View};
use skyweir_types::ActorId;

use crate::metrics;

/// The followers of one author, page by page, as of one view.
pub struct FollowerPages {
    view: Arc<dyn View>,
    author: ActorId,
    after: Option<ActorId>,
    size: usize,
    ended: bool,
}

impl FollowerPages {
    pub(crate) fn new(view: Arc<dyn View>, author: ActorId, size: usize) -> Self {
        Self { view, author, after: None, size, ended: false }
    }

    /// Whether the last page was handed out.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Goes on with the followers as of another view: a store may refuse one that is old.
    pub fn go_on_with(&mut self, view: Arc<dyn View>) {
        self.view = view;
    }

    /// The next page, by rising number; `None` after the last. A call that failed may be made again.
    ///
    /// # Errors
    /// Whatever the view answers.
    pub async fn next(&mut self) -> Result<Option<Vec<ActorId>>> {
        if self.ended {
            return Ok(None);
        }
        let followers = self.view.followers(self.author, self.after, self.size).await?;
        self.ended = followers.len() < self.size;
        self.after = followers.last().copied();
        if followers.is_empty() {
            return Ok(None);
        }
        metrics::page(followers.len());
        Ok(Some(followers))
    }
}
