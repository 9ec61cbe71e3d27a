//! Paging through an author's followers.

use skyweir_store::Result;
use skyweir_types::ActorId;

use crate::metrics;
use crate::remote::RemotePages;
use crate::store_pages::StorePages;

/// The followers of one author, page by page.
pub struct FollowerPages {
    pages: Pages,
}

/// Where they come from.
pub(crate) enum Pages {
    Store(StorePages),
    Remote(RemotePages),
}

impl FollowerPages {
    pub(crate) fn new(pages: Pages) -> Self {
        Self { pages }
    }

    /// Whether the last page was handed out.
    #[must_use]
    pub fn ended(&self) -> bool {
        match &self.pages {
            Pages::Store(pages) => pages.ended(),
            Pages::Remote(pages) => pages.ended(),
        }
    }

    /// The next page, by rising number; `None` after the last. A call that failed or was cut off may be made again: it
    /// goes on behind the page before.
    ///
    /// # Errors
    /// Whatever the store answers; over servers [`skyweir_store::Error::Unavailable`] when none gives the page.
    pub async fn next(&mut self) -> Result<Option<Vec<ActorId>>> {
        if self.ended() {
            return Ok(None);
        }
        let followers = match &mut self.pages {
            Pages::Store(pages) => pages.next().await?,
            Pages::Remote(pages) => pages.next().await?,
        };
        if followers.is_empty() {
            return Ok(None);
        }
        metrics::page(followers.len());
        Ok(Some(followers))
    }
}
