//! `skyweir.v1.TimelineService`: our own API.

use std::sync::Arc;

use async_trait::async_trait;
use skyweir_proto::skyweir::v1::{
    GetDeliveryRequest, GetDeliveryResponse, GetFollowCountsRequest, GetFollowCountsResponse,
    GetFollowPageRequest, GetFollowPageResponse, GetFollowerPageRequest, GetFollowerPageResponse,
    GetStatusRequest, GetStatusResponse, GetTimelineRequest, GetTimelineResponse, GraphStatus, TimelineItem,
    timeline_service_server::TimelineService,
};
use skyweir_store::{Complete, Completeness};
use skyweir_types::Did;
use tonic::{Request, Response, Status};

use crate::{DeliveryReader, Filters, FollowCounts, GraphReader, PageItem, Query, Side, TimelineReader};

/// Translates between our messages and our readers.
pub(crate) struct SkyweirV1 {
    pub(crate) timelines: Arc<TimelineReader>,
    pub(crate) graph: Arc<GraphReader>,
    pub(crate) deliveries: Arc<DeliveryReader>,
    pub(crate) complete: Arc<dyn Complete>,
}

impl SkyweirV1 {
    /// Asked before the answer is read: what is whole by then is in it.
    fn is_incomplete(&self) -> bool {
        self.complete.completeness() != Completeness::Whole
    }
}

#[async_trait]
impl TimelineService for SkyweirV1 {
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
        let graph_incomplete = self.is_incomplete();
        let page = self.timelines.page(query).await?;
        Ok(Response::new(GetTimelineResponse {
            items: page.items.into_iter().map(item).collect(),
            cursor: page.cursor,
            sampled: page.rate < 1.0,
            rate: page.rate,
            from_cache: page.from_cache,
            from_merge: page.from_merge,
            graph_incomplete,
        }))
    }

    async fn get_follower_page(
        &self,
        request: Request<GetFollowerPageRequest>,
    ) -> Result<Response<GetFollowerPageResponse>, Status> {
        let GetFollowerPageRequest { actor_did, limit, cursor } = request.into_inner();
        let graph_incomplete = self.is_incomplete();
        let page = self.graph.dids(Side::Followers, &actor_did, limit, &cursor).await?;
        let (dids, cursor) = (texts(&page.entries), page.cursor);
        Ok(Response::new(GetFollowerPageResponse { dids, cursor, graph_incomplete }))
    }

    async fn get_follow_page(
        &self,
        request: Request<GetFollowPageRequest>,
    ) -> Result<Response<GetFollowPageResponse>, Status> {
        let GetFollowPageRequest { actor_did, limit, cursor } = request.into_inner();
        let graph_incomplete = self.is_incomplete();
        let page = self.graph.dids(Side::Follows, &actor_did, limit, &cursor).await?;
        let (dids, cursor) = (texts(&page.entries), page.cursor);
        Ok(Response::new(GetFollowPageResponse { dids, cursor, graph_incomplete }))
    }

    async fn get_follow_counts(
        &self,
        request: Request<GetFollowCountsRequest>,
    ) -> Result<Response<GetFollowCountsResponse>, Status> {
        let graph_incomplete = self.is_incomplete();
        let FollowCounts { followers, follows } = self.graph.counts(&request.get_ref().actor_did).await?;
        Ok(Response::new(GetFollowCountsResponse { followers, follows, graph_incomplete }))
    }

    async fn get_delivery(
        &self,
        request: Request<GetDeliveryRequest>,
    ) -> Result<Response<GetDeliveryResponse>, Status> {
        let report = self.deliveries.report(&request.get_ref().uri).await?;
        Ok(Response::new(GetDeliveryResponse {
            followers: report.followers,
            written: report.written,
            below_floor: report.below_floor,
            sampled_out: report.sampled_out,
            hibernating: report.hibernating,
            failed: report.failed,
            own: report.own,
            finished: report.finished,
            pages: report.pages,
            started_at_us: report.started_us,
            finished_at_us: report.finished_us,
        }))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let (graph, loaded_share) = match self.complete.completeness() {
            Completeness::Whole => (GraphStatus::Complete, 0.0),
            Completeness::Loading(share) => (GraphStatus::Loading, share),
            Completeness::Partial => (GraphStatus::Partial, 0.0),
        };
        Ok(Response::new(GetStatusResponse { graph: graph.into(), loaded_share }))
    }
}

fn item(item: PageItem) -> TimelineItem {
    TimelineItem {
        uri: item.uri,
        cid: item.cid,
        repost: item.repost,
        repost_cid: item.repost_cid,
        is_reply: item.is_reply,
        is_repost: item.is_repost,
        is_quote_post: item.is_quote_post,
        sort_at: item.sort_at,
    }
}

fn texts(dids: &[Did]) -> Vec<String> {
    dids.iter().map(|did| did.as_str().to_owned()).collect()
}
