//! Paging through an author's followers in a store.

use std::sync::Arc;

use skyweir_store::{Error, Result, Store, View};
use skyweir_types::{ActorId, TaskId};

/// The followers of one author, page by page: as of one view, and of a newer one after a call that failed. Which of
/// them a page is of doesn't matter ([`crate::Graph::followers`]), and as pages go by rising number nobody comes twice.
pub(crate) struct StorePages {
    store: Arc<dyn Store>,
    view: Option<Arc<dyn View>>,
    /// No view may be from before this one was the next.
    next_task: TaskId,
    author: ActorId,
    after: Option<ActorId>,
    size: usize,
    ended: bool,
}

impl StorePages {
    /// Pages of this size, behind `after`. Without a view the first call takes one.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        view: Option<Arc<dyn View>>,
        author: ActorId,
        after: Option<ActorId>,
        size: usize,
    ) -> Self {
        Self { store, view, next_task: TaskId(0), author, after, size: size.max(1), ended: false }
    }

    /// Of views only in which everything shows that happened before this task gets its number.
    pub(crate) fn from(self, next_task: TaskId) -> Self {
        Self { next_task, ..self }
    }

    /// Whether the last page was handed out.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Whether the next call asks a view that was asked before.
    pub(crate) fn has_view(&self) -> bool {
        self.view.is_some()
    }

    /// The next page, which is empty behind the last follower. A call that failed may be made again.
    pub(crate) async fn next(&mut self) -> Result<Vec<ActorId>> {
        // a view of which a call failed isn't asked again: it may have ended, and would fail for ever
        let view = match self.view.take() {
            Some(view) => view,
            None => {
                let view: Arc<dyn View> = Arc::from(self.store.view().await?);
                let next = view.next_task().await?;
                if next < self.next_task {
                    let needed = self.next_task;
                    return Err(Error::Unavailable(format!(
                        "knows of the tasks before {next}, not yet of those before {needed}"
                    )));
                }
                view
            }
        };
        let followers = view.followers(self.author, self.after, self.size).await?;
        self.view = Some(view);
        self.ended = followers.len() < self.size;
        self.after = followers.last().copied().or(self.after);
        Ok(followers)
    }
}
