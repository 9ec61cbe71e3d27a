//! `GET /hot`: the timelines and shards to which most is written, as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use skyweir_store::Error;
use skyweir_writer::HotReport;

use super::Readiness;

/// How many timelines and shards are named.
const MOST: usize = 50;

pub(super) async fn hot(
    State(readiness): State<Arc<Readiness>>,
) -> Result<Json<HotReport>, (StatusCode, String)> {
    let Some(writer) = &readiness.writer else {
        let why = "this process has not the role writer; ask one that has\n";
        return Err((StatusCode::NOT_FOUND, why.to_owned()));
    };
    let report = writer.hot(MOST).await;
    report.map(Json).map_err(|error| {
        let status = match error {
            Error::Corrupt(_) => {
                tracing::error!(%error, "cannot tell what is hot");
                StatusCode::INTERNAL_SERVER_ERROR
            }
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, format!("{error}\n"))
    })
}
