//! The admin port: `/metrics`, `/livez`, `/readyz` and `/hot`.

mod hot;
mod listener;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use skyweir_indexer::source::{SourceStatus, StatusSnapshot};
use skyweir_store::Enrol as _;
use skyweir_writer::Handle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::listener::Limited;

/// Nobody else drains the histograms: without a scrape they would grow for ever.
const UPKEEP: Duration = Duration::from_secs(5);

/// What `/readyz` looks at.
pub(crate) struct Readiness {
    /// What is wrong with upstream, if anything.
    pub(crate) source: Arc<SourceStatus>,
    /// Whether what was in the task log at the start is delivered; it also has gauges to set.
    pub(crate) writer: Handle,
    /// The process is on its way out.
    pub(crate) draining: AtomicBool,
    /// Said as long as not all follows are known.
    pub(crate) coverage: Option<String>,
}

impl Readiness {
    /// Why reads should go elsewhere.
    fn reasons(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::SeqCst) {
            reasons.push("draining: the process is shutting down");
        }
        if !self.writer.caught_up() {
            reasons.push("not caught up: what the task log held at the start is still being delivered");
        }
        reasons
    }

    /// What a person should know all the same.
    fn notes(&self) -> Vec<String> {
        let StatusSnapshot { connected, gaps, last_gap, last_failure, .. } = self.source.snapshot();
        let mut notes = Vec::new();
        if let Some(gap) = last_gap {
            notes.push(format!(
                "gap: upstream lost its place {gaps} times since the start, last {}: {}; events may be missing",
                gap.reason, gap.message
            ));
        }
        if let (false, Some(failure)) = (connected, last_failure) {
            notes.push(format!("upstream: not connected: {failure}"));
        }
        notes.extend(self.coverage.clone());
        notes
    }

    fn report(&self) -> (StatusCode, String) {
        let reasons = self.reasons();
        let ready = reasons.is_empty();
        let mut text = String::from(if ready { "ready\n" } else { "not ready\n" });
        let lines = reasons.iter().map(|reason| ("reason", (*reason).to_owned()));
        for (kind, line) in lines.chain(self.notes().into_iter().map(|note| ("note", note))) {
            // writing to a string can't fail
            let _ = writeln!(text, "{kind}: {line}");
        }
        (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
    }
}

/// Answers on the admin port until stopped. Open answers are cut off then: it is the last part to stop.
pub(crate) async fn run(
    listener: TcpListener,
    recorder: PrometheusHandle,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
) -> Result<()> {
    let (scraped, writer) = (recorder.clone(), readiness.writer.clone());
    let metrics = move || {
        writer.record_gauges();
        std::future::ready(render(&scraped))
    };
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| std::future::ready("alive\n")))
        .route("/readyz", get(readyz))
        .route("/hot", get(hot::hot))
        .with_state(readiness);
    tokio::select! {
        served = axum::serve(Limited::new(listener), app).into_future() => served.context("the admin port failed"),
        () = upkeep(&recorder) => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}

async fn upkeep(recorder: &PrometheusHandle) {
    let mut turns = tokio::time::interval(UPKEEP);
    loop {
        turns.tick().await;
        recorder.run_upkeep();
    }
}

fn render(recorder: &PrometheusHandle) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], recorder.render()).into_response()
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> (StatusCode, String) {
    readiness.report()
}
