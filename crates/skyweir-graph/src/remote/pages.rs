//! Paging through an author's followers on servers: what is lost goes on elsewhere, behind the page before.

use std::sync::Arc;

use skyweir_proto::skyweir::graph::v1::{FollowersPage, FollowersRequest};
use skyweir_store::{Error, Result, View};
use skyweir_types::{ActorId, TaskId};

use super::Remote;
use super::servers::Server;
use super::streams::{Open, Ticket};
use crate::error::store_error;
use crate::metrics;

/// The followers of one author, page by page.
pub(crate) struct RemotePages {
    remote: Arc<Remote>,
    /// Servers have to know what this view shows, until it was asked how far that is.
    view: Option<Arc<dyn View>>,
    next_task: TaskId,
    author: ActorId,
    after: Option<ActorId>,
    ended: bool,
    /// Of the stream that the next page comes from, unless it was closed meanwhile.
    stream: Option<Ticket>,
}

impl RemotePages {
    pub(crate) fn new(
        remote: Arc<Remote>,
        view: Arc<dyn View>,
        author: ActorId,
        after: Option<ActorId>,
    ) -> Self {
        Self { remote, view: Some(view), next_task: TaskId(0), author, after, ended: false, stream: None }
    }

    /// Whether the last page was handed out.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The next page, which is empty behind the last follower. Asks each server at most once, after the one of the open
    /// stream; the pause before another round is the caller's, who may make a call again that failed or was cut off.
    pub(crate) async fn next(&mut self) -> Result<Vec<ActorId>> {
        if let Some(view) = &self.view {
            self.next_task = view.next_task().await?;
            self.view = None;
        }
        let remote = Arc::clone(&self.remote);
        let mut whys = Vec::new();
        if let Some(ticket) = self.stream.take() {
            match remote.streams.take(ticket) {
                Some(open) => match self.read(open).await {
                    Err(error) => {
                        metrics::resumed("lost");
                        whys.push(may_pass(error)?);
                    }
                    page => return page,
                },
                None => metrics::resumed("idle"),
            }
        }
        for server in remote.servers.in_order() {
            let page = match self.open(server).await {
                Ok(open) => self.read(open).await,
                Err(error) => Err(error),
            };
            match page {
                Err(error) => whys.push(may_pass(error)?),
                page => return page,
            }
        }
        let whys = whys.join("; ");
        Err(Error::Unavailable(format!("no server of graph.remote gives a page of followers: {whys}")))
    }

    /// Asks a server for the pages behind the last one.
    async fn open(&self, server: &Arc<Server>) -> Result<Open> {
        let Remote { page, timeout, .. } = *self.remote;
        let (author, after) = (self.author.0, self.after.map(|actor| actor.0));
        let mut client = server.client();
        let next_task = self.next_task.0;
        let asked = client.followers(FollowersRequest { author, after, page_size: page, next_task });
        match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(answer)) => Ok(Open { server: Arc::clone(server), pages: answer.into_inner() }),
            Ok(Err(status)) => Err(server.failed(store_error(server, &status))),
            Err(_) => Err(server.failed(server.silent(timeout))),
        }
    }

    /// Reads a page, and keeps the stream for the next one.
    async fn read(&mut self, mut open: Open) -> Result<Vec<ActorId>> {
        let (server, timeout) = (&open.server, self.remote.timeout);
        let page = match tokio::time::timeout(timeout, open.pages.message()).await {
            Ok(Ok(Some(page))) => page,
            Ok(Ok(None)) => return Err(server.failed(server.strange("a stream ended before its last page"))),
            Ok(Err(status)) => return Err(server.failed(store_error(server, &status))),
            Err(_) => return Err(server.failed(server.silent(timeout))),
        };
        let FollowersPage { followers, last } = page;
        let followers: Vec<ActorId> = followers.into_iter().map(ActorId).collect();
        let rising = followers.first().is_none_or(|first| self.after.is_none_or(|after| after < *first))
            && followers.is_sorted_by(|one, next| one < next);
        // else somebody would get a reference twice, or a stream would have no end
        if !rising || (followers.is_empty() && !last) || followers.len() > self.remote.page as usize {
            return Err(server.failed(server.strange("a page of followers isn't one")));
        }
        server.answered();
        self.after = followers.last().copied().or(self.after);
        self.ended = last;
        if !last {
            self.stream = Some(self.remote.streams.keep(open));
        }
        Ok(followers)
    }
}

impl Drop for RemotePages {
    fn drop(&mut self) {
        // a fan-out that is cut off closes its stream
        if let Some(ticket) = self.stream.take() {
            drop(self.remote.streams.take(ticket));
        }
    }
}

/// What is said of a failure that another server may not have.
fn may_pass(error: Error) -> Result<String> {
    match error {
        Error::Corrupt(_) => Err(error),
        Error::Unavailable(why) | Error::Limit(why) => Ok(why),
    }
}
