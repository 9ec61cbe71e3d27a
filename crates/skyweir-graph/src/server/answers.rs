//! The calls of `skyweir.graph.v1.FollowerGraph`.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::try_unfold;
use skyweir_proto::skyweir::graph::v1::follower_graph_server::FollowerGraph;
use skyweir_proto::skyweir::graph::v1::{
    FollowCountsRequest, FollowCountsResponse, FollowersPage, FollowersRequest, HighFollowsChunk,
    HighFollowsRequest,
};
use skyweir_store::{Error, Store};
use skyweir_types::{ActorId, TaskId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::limits::{Limits, Place};
use crate::store_pages::StorePages;
use crate::{Config, HighFollows, metrics};

/// How many accounts' counts one call asks for at most.
const COUNTS_MOST: usize = 10_000;

/// Answers the calls.
pub(super) struct Answers {
    store: Arc<dyn Store>,
    snapshots: watch::Receiver<Arc<HighFollows>>,
    limits: Limits,
    page: usize,
    reasonable_limit: u32,
    stop: CancellationToken,
}

impl Answers {
    pub(super) fn new(
        config: &Config,
        store: Arc<dyn Store>,
        snapshots: watch::Receiver<Arc<HighFollows>>,
        limits: Limits,
        stop: CancellationToken,
    ) -> Self {
        let Config { page, reasonable_limit, .. } = *config;
        Self { store, snapshots, limits, page: page.max(1), reasonable_limit, stop }
    }
}

/// What a streaming call answers.
type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl FollowerGraph for Answers {
    type FollowersStream = Answer<FollowersPage>;
    type HighFollowsStream = Answer<HighFollowsChunk>;

    async fn followers(
        &self,
        request: Request<FollowersRequest>,
    ) -> Result<Response<Self::FollowersStream>, Status> {
        let place = self.limits.stream()?;
        let FollowersRequest { author, after, page_size, next_task } = request.into_inner();
        let size = match page_size as usize {
            0 => self.page,
            size => size.min(self.page),
        };
        // without a view: it has to be taken after the call came
        let pages = StorePages::new(Arc::clone(&self.store), None, ActorId(author), after.map(ActorId), size);
        let pages = pages.from(TaskId(next_task));
        let sending = Pages { pages, limits: self.limits.clone(), stop: self.stop.clone(), _place: place };
        Ok(Response::new(Box::pin(try_unfold(sending, Pages::next))))
    }

    async fn follow_counts(
        &self,
        request: Request<FollowCountsRequest>,
    ) -> Result<Response<FollowCountsResponse>, Status> {
        let actors: Vec<_> = request.into_inner().actors.into_iter().map(ActorId).collect();
        if actors.len() > COUNTS_MOST {
            let asked = actors.len();
            return Err(Status::invalid_argument(format!(
                "{asked} accounts: expected at most {COUNTS_MOST}"
            )));
        }
        let accounts = self.limits.read(async { self.store.view().await?.accounts(&actors).await }).await?;
        let (followers, follows) =
            accounts.iter().map(|account| (account.followers, account.follows)).unzip();
        Ok(Response::new(FollowCountsResponse { followers, follows }))
    }

    async fn high_follows(
        &self,
        request: Request<HighFollowsRequest>,
    ) -> Result<Response<Self::HighFollowsStream>, Status> {
        let place = self.limits.stream()?;
        let (theirs, ours) = (request.into_inner().reasonable_limit, self.reasonable_limit);
        if theirs != ours {
            return Err(Status::failed_precondition(format!(
                "its timeline.reasonable_limit is {ours}, that of who asks {theirs}: give all processes the same"
            )));
        }
        // never looked at here: one that was taken before the call is news to who calls
        let snapshots = self.snapshots.clone();
        let sending =
            Snapshots { snapshots, chunks: Vec::new().into_iter(), stop: self.stop.clone(), _place: place };
        Ok(Response::new(Box::pin(try_unfold(sending, Snapshots::next))))
    }
}

/// Pages that are being sent. One is read when the client's window has room for it.
struct Pages {
    pages: StorePages,
    limits: Limits,
    stop: CancellationToken,
    _place: Place,
}

impl Pages {
    async fn next(mut self) -> Result<Option<(FollowersPage, Self)>, Status> {
        if self.pages.ended() {
            return Ok(None);
        }
        let Self { pages, limits, stop, .. } = &mut self;
        let page = limits.read(async {
            let had_view = pages.has_view();
            match pages.next().await {
                // a view of before may have ended, as it does in a long stream, which is no outage
                Err(Error::Unavailable(_)) if had_view => {
                    metrics::resumed("view");
                    pages.next().await
                }
                page => page,
            }
        });
        let followers = stop.run_until_cancelled(page).await.ok_or_else(stopping)??;
        metrics::served();
        let followers = followers.into_iter().map(|follower| follower.0).collect();
        Ok(Some((FollowersPage { followers, last: self.pages.ended() }, self)))
    }
}

/// Snapshots that are being sent.
struct Snapshots {
    snapshots: watch::Receiver<Arc<HighFollows>>,
    /// What is left of one.
    chunks: std::vec::IntoIter<HighFollowsChunk>,
    stop: CancellationToken,
    _place: Place,
}

impl Snapshots {
    async fn next(mut self) -> Result<Option<(HighFollowsChunk, Self)>, Status> {
        loop {
            if let Some(chunk) = self.chunks.next() {
                return Ok(Some((chunk, self)));
            }
            let changed = self.stop.run_until_cancelled(self.snapshots.changed()).await;
            if !matches!(changed, Some(Ok(()))) {
                return Err(stopping());
            }
            let newest = self.snapshots.borrow_and_update().clone();
            if newest.number() > 0 {
                self.chunks = newest.chunks().collect::<Vec<_>>().into_iter();
            }
        }
    }
}

fn stopping() -> Status {
    metrics::refused("stopping");
    Status::unavailable("this server of the follower graph stops: go on with another one, or when it is back")
}
