//! `bsky.Service`: what an unmodified AppView calls.

use std::sync::Arc;

use async_trait::async_trait;
use skyweir_proto::bsky::{
    FollowInfo, GetFollowersRequest, GetFollowersResponse, GetFollowsRequest, GetFollowsResponse,
    GetTimelineRequest, GetTimelineResponse, PingRequest, PingResponse, TimelineFeedItem,
    service_server::Service,
};
use tonic::{Request, Response, Status};

use crate::{Edge, Filters, GraphReader, PageItem, Query, Side, TimelineReader};

/// Translates between the AppView's messages and our readers.
pub(crate) struct Bsky {
    pub(crate) timelines: Arc<TimelineReader>,
    pub(crate) graph: Arc<GraphReader>,
}

#[async_trait]
impl Service for Bsky {
    async fn get_timeline(
        &self,
        request: Request<GetTimelineRequest>,
    ) -> Result<Response<GetTimelineResponse>, Status> {
        let request = request.into_inner();
        let filters = Filters {
            exclude_replies: request.exclude_replies,
            exclude_reposts: request.exclude_reposts,
            exclude_quotes: request.exclude_quotes,
        };
        let query =
            Query { viewer: &request.actor_did, limit: request.limit, cursor: &request.cursor, filters };
        let page = self.timelines.page(query).await?;
        let items = page.items.into_iter().map(item).collect();
        Ok(Response::new(GetTimelineResponse { items, cursor: page.cursor }))
    }

    async fn get_followers(
        &self,
        request: Request<GetFollowersRequest>,
    ) -> Result<Response<GetFollowersResponse>, Status> {
        let GetFollowersRequest { actor_did, limit, cursor } = request.into_inner();
        let page = self.graph.edges(Side::Followers, &actor_did, limit, &cursor).await?;
        let followers = page.entries.into_iter().map(info).collect();
        Ok(Response::new(GetFollowersResponse { followers, cursor: page.cursor }))
    }

    async fn get_follows(
        &self,
        request: Request<GetFollowsRequest>,
    ) -> Result<Response<GetFollowsResponse>, Status> {
        let GetFollowsRequest { actor_did, limit, cursor } = request.into_inner();
        let page = self.graph.edges(Side::Follows, &actor_did, limit, &cursor).await?;
        let follows = page.entries.into_iter().map(info).collect();
        Ok(Response::new(GetFollowsResponse { follows, cursor: page.cursor }))
    }

    async fn ping(&self, _request: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        Ok(Response::new(PingResponse {}))
    }
}

fn item(item: PageItem) -> TimelineFeedItem {
    TimelineFeedItem {
        uri: item.uri,
        cid: item.cid,
        repost: item.repost,
        repost_cid: item.repost_cid,
        is_reply: item.is_reply,
        is_repost: item.is_repost,
        is_quote_post: item.is_quote_post,
    }
}

fn info(edge: Edge) -> FollowInfo {
    FollowInfo {
        uri: edge.uri,
        actor_did: edge.actor.as_str().to_owned(),
        subject_did: edge.subject.as_str().to_owned(),
    }
}
