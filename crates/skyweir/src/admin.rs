//! The admin port: `/metrics`, `/livez`, `/readyz` and `/hot`.

mod hot;
mod listener;

use std::fmt::Write as _;
use std::path::PathBuf;
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
use skyweir_store::{Complete, Completeness, Enrol as _};
use skyweir_writer::Handle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::listener::Limited;
use crate::coverage::NOTE;
use crate::elsewhere::Elsewhere;
use crate::roles::Roles;
use crate::telemetry::machine;

/// Nobody else drains the histograms: without a scrape they would grow for ever.
const UPKEEP: Duration = Duration::from_secs(5);

/// What `/readyz` looks at.
pub(crate) struct Readiness {
    /// What this process does.
    pub(crate) roles: Roles,
    /// With the role indexer: what is wrong with upstream, if anything.
    pub(crate) source: Option<Arc<SourceStatus>>,
    /// How much of the follow graph is known.
    pub(crate) complete: Arc<dyn Complete>,
    /// With the role writer: whether what was in the task log at the start is delivered; it also has gauges to set.
    pub(crate) writer: Option<Handle>,
    /// The servers that it needs.
    pub(crate) elsewhere: Elsewhere,
    /// Is cancelled once all that there was at the start is known as far as it can be.
    pub(crate) loaded: CancellationToken,
    /// Said as long as not all follows are known: who answers what follows from them.
    pub(crate) meanwhile: Option<String>,
    /// The process is on its way out.
    pub(crate) draining: AtomicBool,
}

impl Readiness {
    /// Why reads should go elsewhere; where there are none, what keeps this process from its work.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::SeqCst) {
            reasons.push("draining: the process is shutting down".to_owned());
        }
        if self.writer.as_ref().is_some_and(|writer| !writer.caught_up()) {
            let why = "not caught up: what the task log held at the start is still being delivered";
            reasons.push(why.to_owned());
        }
        let waits = !self.loaded.is_cancelled() && (self.roles.writer || self.roles.api);
        match self.complete.completeness() {
            Completeness::Loading(share) if !self.loaded.is_cancelled() => {
                reasons.push(format!("loading: {:.1} % of the archive is read", share * 100.0));
            }
            _ if self.source.is_none() && waits => {
                let why = "loading: the indexer, another process, hasn't begun, or reads the archive";
                reasons.push(why.to_owned());
            }
            _ => {}
        }
        reasons.extend(self.elsewhere.reasons());
        reasons
    }

    /// What a person should know all the same.
    fn notes(&self) -> Vec<String> {
        let mut notes = self.source.as_ref().map_or_else(Vec::new, |source| of_upstream(&source.snapshot()));
        match self.complete.completeness() {
            Completeness::Partial if self.source.is_some() || self.loaded.is_cancelled() => {
                notes.push(NOTE.to_owned());
            }
            Completeness::Loading(share) if self.loaded.is_cancelled() => notes.push(format!(
                "catching up: what was missed upstream is read from the archive, {:.1} % of which is known",
                share * 100.0
            )),
            _ => {}
        }
        if let Some(meanwhile) = &self.meanwhile
            && self.complete.completeness() != Completeness::Whole
        {
            notes.push(meanwhile.clone());
        }
        notes.extend(self.elsewhere.notes());
        notes
    }

    fn report(&self) -> (StatusCode, String) {
        let reasons = self.reasons();
        let ready = reasons.is_empty();
        let mut text = String::from(if ready { "ready\n" } else { "not ready\n" });
        if self.roles != Roles::ALL {
            let _ = writeln!(text, "roles: {}", self.roles);
        }
        let lines = reasons.into_iter().map(|reason| ("reason", reason));
        for (kind, line) in lines.chain(self.notes().into_iter().map(|note| ("note", note))) {
            // writing to a string can't fail
            let _ = writeln!(text, "{kind}: {line}");
        }
        (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
    }
}

/// What a person should know of what is read upstream.
fn of_upstream(status: &StatusSnapshot) -> Vec<String> {
    let StatusSnapshot { connected, gaps, last_gap, last_failure, .. } = status;
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
    notes
}

/// Answers on the admin port until stopped. Open answers are cut off then: it is the last part to stop.
pub(crate) async fn run(
    listener: TcpListener,
    recorder: PrometheusHandle,
    readiness: Arc<Readiness>,
    data_dir: PathBuf,
    stop: CancellationToken,
) -> Result<()> {
    let (scraped, gauged) = (recorder.clone(), readiness.clone());
    let metrics = move || {
        if let Some(writer) = &gauged.writer {
            writer.record_gauges();
        }
        gauged.elsewhere.record();
        machine::record(&data_dir);
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
