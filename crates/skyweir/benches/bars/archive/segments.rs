//! An archive of a generated network's follows: segments as a Jetstream v2 seals them, in files, and their server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use skyweir_loadtest::{
    ArchiveBlock, ArchiveRow, ArchiveSegment, Network, encode_dag_cbor, rfc3339_millis, tid,
};

use crate::rng::Rng;

const FOLLOW: &str = "app.bsky.graph.follow";
/// So many accounts' follows make a segment.
const STRETCH: u32 = 4_096;
/// Rows of a block, as on a real server.
const BLOCK: usize = 4_096;
/// So many sequence numbers are a segment's; not all are used.
const SEQS: u64 = 100_000_000;
/// Follow records are from so many microseconds before the network's first event: three years.
const PAST_US: u64 = 3 * 365 * 86_400 * 1_000_000;
/// From a record's key to its rev: at most so many microseconds.
const COMMIT_US: u32 = 40_000;

/// A segment in a file.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    name: String,
    seqs: (u64, u64),
}

/// Segments in the order of their numbers, and how many follows they have.
pub(super) struct Segments {
    pub(super) list: Vec<Segment>,
    pub(super) follows: u64,
    pub(super) bytes: u64,
}

/// Writes the archive of a network on all cores: all that an account follows stands together, by record key, as in one
/// that began with whole repositories.
pub(super) fn generate(network: &Network, dir: &Path) -> Result<Segments> {
    std::fs::create_dir_all(dir)?;
    let (next, count) = (AtomicU32::new(0), network.actors().div_ceil(STRETCH));
    let work = || {
        let mut made = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return anyhow::Ok(made);
            }
            made.push(segment(network, dir, at)?);
        }
    };
    let cores = std::thread::available_parallelism()?.get();
    let mut made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("it panicked")));
        joined.collect::<Result<Vec<_>>>()?.into_iter().collect::<Result<Vec<_>>>()
    })?
    .concat();
    made.retain(|(_, follows, _)| *follows > 0);
    made.sort_by_key(|(segment, ..)| segment.seqs);
    let (follows, bytes) = (made.iter().map(|made| made.1).sum(), made.iter().map(|made| made.2).sum());
    Ok(Segments { list: made.into_iter().map(|(segment, ..)| segment).collect(), follows, bytes })
}

/// A segment, its follows, its bytes.
fn segment(network: &Network, dir: &Path, at: u32) -> Result<(Segment, u64, u64)> {
    let accounts = at * STRETCH..((at + 1) * STRETCH).min(network.actors());
    let mut rows = Vec::new();
    let first = u64::from(at) * SEQS + 1;
    for follower in accounts {
        let (mut rng, did) = (Rng::new(u64::from(follower)), network.did(follower));
        let mut times: Vec<_> =
            network.followees(follower).into_iter().map(|subject| (rng.any() % PAST_US, subject)).collect();
        times.sort_unstable();
        for (ago, subject) in times {
            let made = network.spec().start_us - PAST_US + ago;
            let clock = follower % 1_024;
            let record =
                json!({"$type": FOLLOW, "createdAt": rfc3339_millis(made), "subject": network.did(subject)});
            rows.push(ArchiveRow {
                seq: first + rows.len() as u64,
                witnessed_at: network.spec().start_us as i64,
                kind: 1,
                collection: FOLLOW.to_owned(),
                did: did.clone(),
                rkey: tid(made, clock as u16),
                rev: tid(made + u64::from(rng.below(COMMIT_US)), clock as u16),
                payload: encode_dag_cbor(&record),
                ..ArchiveRow::default()
            });
        }
    }
    ensure!((rows.len() as u64) < SEQS, "a segment has too many follows");
    let (follows, seqs) = (rows.len() as u64, (first, first + rows.len() as u64 - 1));
    let blocks: Vec<_> = rows.chunks(BLOCK).map(|rows| ArchiveBlock::new(rows.to_vec())).collect();
    let sealed = ArchiveSegment::of_blocks(&blocks)?;
    let name = format!("seg_{at:010}.jss");
    let path = dir.join(&name);
    std::fs::write(&path, &sealed.bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((Segment { path, name, seqs }, follows, sealed.bytes.len() as u64))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ask {
    after_seq: u64,
    before_seq: Option<u64>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Serves them on a free port, until the runtime ends; returns the port.
pub(super) async fn serve(segments: &[Segment]) -> Result<u16> {
    let shared: Arc<[Segment]> = segments.into();
    let app = Router::new()
        .route("/xrpc/network.bsky.jetstream.planSnapshot", post(plan))
        .route("/xrpc/network.bsky.jetstream.getSegment", get(file))
        .with_state(shared);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move { axum::serve(listener, app).await });
    serving.detach_all();
    Ok(port)
}

async fn plan(State(segments): State<Arc<[Segment]>>, body: Bytes) -> Response {
    let Ok(ask) = serde_json::from_slice::<Ask>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let tip = segments.last().map_or(0, |segment| segment.seqs.1);
    let through = ask.before_seq.unwrap_or(tip).min(tip);
    let planned =
        segments.iter().filter(|segment| segment.seqs.1 > ask.after_seq && segment.seqs.0 <= through);
    let planned: Vec<Value> = planned
        .map(|segment| json!({"name": segment.name, "minSeq": segment.seqs.0, "mode": "segment"}))
        .collect();
    let plan = json!({"plannedThroughSeq": through, "sealedTipSeq": tip, "segments": planned});
    axum::Json(plan).into_response()
}

async fn file(State(segments): State<Arc<[Segment]>>, Query(Named { name }): Query<Named>) -> Response {
    let Some(segment) = segments.iter().find(|segment| segment.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match tokio::fs::read(&segment.path).await {
        Ok(bytes) => bytes.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
