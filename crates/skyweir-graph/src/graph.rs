//! The follower graph as its reader has it: over a store of this process, or over servers of others.

use std::sync::Arc;

use skyweir_store::{Away, Store, View};
use skyweir_types::ActorId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::followers::Pages;
use crate::remote::{Remote, RemotePages};
use crate::snapshots::Snapshots;
use crate::store_pages::StorePages;
use crate::{Config, Error, FollowerPages, HighFollows};

/// The follower graph.
pub struct Graph {
    source: Source,
}

enum Source {
    Store { page: usize, store: Arc<dyn Store>, snapshots: Snapshots },
    Remote(Arc<Remote>),
}

impl Graph {
    /// A graph over the servers that [`Config::remote`] names, or over this store if there are none. The snapshot is
    /// empty until [`Graph::run`] has one. Servers are connected to when they are asked, on the tokio runtime that this
    /// has to be called on.
    #[must_use]
    pub fn new(config: Config, store: Arc<dyn Store>) -> Arc<Self> {
        let source = if config.remote.is_empty() {
            let snapshots = Snapshots::new(&config, Arc::clone(&store));
            Source::Store { page: config.page, store, snapshots }
        } else {
            Source::Remote(Remote::new(config))
        };
        Arc::new(Self { source })
    }

    /// The followers of an author behind `after`, in pages. Every change that this view shows, shows in them.
    ///
    /// So a page for task n reflects every change before n, if the view was taken after n was read. Over a store the
    /// view itself is asked. A server takes its own after it was asked for pages, and answers only if that one shows
    /// what the view here does: a process that was the indexer may not know yet that another is. That a page may show
    /// more does no harm: what changes after task n has tasks of its own, a fill or a purge.
    #[must_use]
    pub fn followers(&self, view: Arc<dyn View>, author: ActorId, after: Option<ActorId>) -> FollowerPages {
        FollowerPages::new(match &self.source {
            Source::Store { page, store, .. } => {
                Pages::Store(StorePages::new(Arc::clone(store), Some(view), author, after, *page))
            }
            Source::Remote(remote) => {
                Pages::Remote(RemotePages::new(Arc::clone(remote), view, author, after))
            }
        })
    }

    /// Watches the high-follow snapshot.
    #[must_use]
    pub fn high_follows(&self) -> watch::Receiver<Arc<HighFollows>> {
        match &self.source {
            Source::Store { snapshots, .. } => snapshots.subscribe(),
            Source::Remote(remote) => remote.high_follows(),
        }
    }

    /// Since when none of [`Config::remote`] gives anything, as who watches the snapshot and who pages find, unless one
    /// does. A store says that by itself.
    #[must_use]
    pub fn away(&self) -> Option<Away> {
        match &self.source {
            Source::Store { .. } => None,
            Source::Remote(remote) => remote.away(),
        }
    }

    /// Keeps the snapshot fresh until stopped.
    ///
    /// # Errors
    /// [`enum@Error`] when the store is corrupt; everything that may pass by itself is tried again.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        match &self.source {
            Source::Store { snapshots, .. } => snapshots.run(&stop).await?,
            Source::Remote(remote) => remote.watch_snapshots(&stop).await?,
        }
        Ok(())
    }
}
