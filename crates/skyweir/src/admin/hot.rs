//! `GET /hot`: the timelines and shards to which most is written, as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use skyweir_writer::HotReport;

use super::Readiness;

/// How many timelines and shards are named.
const MOST: usize = 50;

pub(super) async fn hot(
    State(readiness): State<Arc<Readiness>>,
) -> Result<Json<HotReport>, (StatusCode, String)> {
    let report = readiness.writer.hot(MOST).await;
    report.map(Json).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))
}
