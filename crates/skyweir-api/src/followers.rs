//! The follow graph as pages: edges for the AppView, bare DIDs by the thousand for our own API.
//!
//! The order is that of the accounts' numbers, which stay inside: a cursor is the DID of the last entry.

use std::sync::Arc;

use skyweir_store::{Store, View};
use skyweir_types::{ActorId, Collection, Did};

use crate::page::page_limit;
use crate::{Config, Error, uri};

/// Which side of the edges a page lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who follows the actor.
    Followers,
    /// Whom the actor follows.
    Follows,
}

/// One edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// AT-URI of the oldest living follow record.
    pub uri: String,
    /// Who follows.
    pub actor: Did,
    /// Who is followed.
    pub subject: Did,
}

/// A page of edges or DIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphPage<T> {
    /// The entries, in a fixed order.
    pub entries: Vec<T>,
    /// Where the next page begins; empty at the end.
    pub cursor: String,
}

/// How many follow an actor and how many it follows, each account counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowCounts {
    /// Who follows it.
    pub followers: u32,
    /// Whom it follows.
    pub follows: u32,
}

/// Reads pages of the follow graph.
pub struct GraphReader {
    store: Arc<dyn Store>,
    max_page_bytes: usize,
}

/// One page as numbers, with their DIDs.
struct Numbers {
    view: Box<dyn View>,
    actor: ActorId,
    did: Did,
    others: Vec<(ActorId, Did)>,
    cursor: String,
}

impl GraphReader {
    /// How many edges a page holds at most.
    pub const MOST_EDGES: usize = 1_000;
    /// How many DIDs a page holds at most.
    pub const MOST_DIDS: usize = 10_000;

    /// Reads from this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, config: &Config) -> Self {
        Self { store, max_page_bytes: config.max_page_bytes }
    }

    /// A page of edges: at most [`GraphReader::MOST_EDGES`], 50 when `limit` is 0.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::GraphCursor`] or [`Error::Actor`] for a malformed question, [`Error::Store`] when
    /// there is no answer. An unknown actor has no edges.
    pub async fn edges(
        &self,
        side: Side,
        actor: &str,
        limit: i32,
        cursor: &str,
    ) -> Result<GraphPage<Edge>, Error> {
        let limit = page_limit(limit, 50, Self::MOST_EDGES)?;
        let Some(page) = self.numbers(side, actor, limit, cursor).await? else {
            return Ok(GraphPage::empty());
        };
        let pairs: Vec<_> = page
            .others
            .iter()
            .map(|(other, _)| match side {
                Side::Followers => (*other, page.actor),
                Side::Follows => (page.actor, *other),
            })
            .collect();
        let records = page.view.edges(&pairs).await?;
        let entries = page.others.into_iter().zip(records).filter_map(|((_, other), rkey)| {
            let (actor, subject) = match side {
                Side::Followers => (other, page.did.clone()),
                Side::Follows => (page.did.clone(), other),
            };
            Some(Edge { uri: uri::format(&actor, Collection::Follow, &rkey?), actor, subject })
        });
        Ok(GraphPage { entries: entries.collect(), cursor: page.cursor })
    }

    /// A page of DIDs: at most [`GraphReader::MOST_DIDS`], which is also what a `limit` of 0 means.
    ///
    /// # Errors
    /// As [`GraphReader::edges`].
    pub async fn dids(
        &self,
        side: Side,
        actor: &str,
        limit: i32,
        cursor: &str,
    ) -> Result<GraphPage<Did>, Error> {
        let limit = page_limit(limit, Self::MOST_DIDS, Self::MOST_DIDS)?;
        let Some(page) = self.numbers(side, actor, limit, cursor).await? else {
            return Ok(GraphPage::empty());
        };
        let entries = page.others.into_iter().map(|(_, did)| did).collect();
        Ok(GraphPage { entries, cursor: page.cursor })
    }

    /// The counts of an actor; zeros for an unknown one.
    ///
    /// # Errors
    /// [`Error::Actor`] for a malformed question, [`Error::Store`] when there is no answer.
    pub async fn counts(&self, actor: &str) -> Result<FollowCounts, Error> {
        let did = Did::parse(actor)?;
        let view = self.store.view().await?;
        let Some(actor) = view.actor(&did).await? else { return Ok(FollowCounts::default()) };
        let infos = view.accounts(&[actor]).await?;
        let counts =
            infos.first().map(|info| FollowCounts { followers: info.followers, follows: info.follows });
        Ok(counts.unwrap_or_default())
    }

    async fn numbers(
        &self,
        side: Side,
        actor: &str,
        limit: usize,
        cursor: &str,
    ) -> Result<Option<Numbers>, Error> {
        let did = Did::parse(actor)?;
        let cursor = match cursor {
            "" => None,
            text => Some(Did::parse(text).map_err(|_| Error::GraphCursor)?),
        };
        let view = self.store.view().await?;
        let after = match &cursor {
            None => None,
            Some(last) => Some(view.actor(last).await?.ok_or(Error::GraphCursor)?),
        };
        let Some(actor) = view.actor(&did).await? else { return Ok(None) };
        // One further than the page, to know whether it goes on.
        let mut ids = match side {
            Side::Followers => view.followers(actor, after, limit + 1).await?,
            Side::Follows => view.follows(actor, after, limit + 1).await?,
        };
        let more = ids.len() > limit;
        ids.truncate(limit);
        let dids = view.dids(&ids).await?;
        let fit = fitting(&dids, self.max_page_bytes);
        let more = more || fit < ids.len();
        let others: Vec<_> = ids.into_iter().zip(dids).take(fit).collect();
        let cursor =
            others.last().filter(|_| more).map(|(_, last)| last.as_str().to_owned()).unwrap_or_default();
        Ok(Some(Numbers { view, actor, did, others, cursor }))
    }
}

impl<T> GraphPage<T> {
    fn empty() -> Self {
        Self { entries: Vec::new(), cursor: String::new() }
    }
}

/// How many of these DIDs fit into so many bytes; one always does.
fn fitting(dids: &[Did], bytes: usize) -> usize {
    let mut left = bytes;
    let mut fit = 0;
    for did in dids {
        // Tag and length take up to four bytes.
        let size = did.as_str().len() + 4;
        if size > left {
            break;
        }
        left -= size;
        fit += 1;
    }
    fit.max(1).min(dids.len())
}
