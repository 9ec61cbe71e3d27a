//! `/readyz` of each role names the server that gives no answer, and says so as long as it doesn't.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::Path;

use common::cql::Cql;
use common::cut::Cut;
use common::{Serve, network, upstream};
use skyweir_loadtest::Network;
use tokio::net::TcpListener;

const CQL: &str = "CQL (scylla.nodes) gives no answer since 2";
const REDIS: &str = "Redis (scylla.redis) gives no answer since 2";
const GRAPH: &str = "the follower graph (graph.remote) gives no answer since 2";

fn write_settings(cql: &Cql, dir: &Path, graph: &str) -> String {
    let file = dir.join("skyweir.toml");
    let graph = format!("[graph]\nlisten = \"{graph}\"\nremote = [\"{graph}\"]\n");
    let text = cql.settings("lease_ms = 250000\n") + &graph;
    std::fs::write(&file, format!("unreachable_seconds = 1\n{text}")).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Waits until it is ready, and says nothing of this kind.
async fn ready(serve: &Serve, not: &str) {
    serve.until("/readyz", |status, said| status == 200 && !said.contains(not)).await;
}

/// Waits until it isn't, and says that this is why.
async fn not_ready(serve: &Serve, server: &str, lacks: &str) {
    let line = format!("\nreason: {server}");
    let said = serve.until("/readyz", |status, said| status == 503 && said.contains(&line)).await;
    assert!(said.contains(&format!(" UTC, so {lacks}: ")), "{said}");
}

/// Since when it knows that this one gives no answer, in seconds.
async fn unreachable(serve: &Serve, label: &str) -> f64 {
    let (_, text) = serve.get("/metrics").await;
    let name = format!("skyweir_unreachable_seconds{{server=\"{label}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("-1").parse().unwrap()
}

/// Somebody who has something to read.
async fn reader(api: &Serve, network: &Network) -> String {
    for actor in 0..network.actors() {
        let did = network.did(actor);
        if !api.timeline(&did).await.is_empty() {
            return did;
        }
    }
    panic!("nobody has anything to read");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_names_the_server_that_it_misses() {
    let Some(cql) = Cql::find("ready").await else { return };
    let (network, events) = network(300);
    let end = events.last().unwrap().time_us;
    let (upstream, dir) = (upstream().await, tempfile::tempdir().unwrap());
    upstream.push_many(events);
    let (nodes, redis) = (Cut::before(cql.node()).await, Cut::before(cql.redis()).await);
    // a free one, as whoever asks has to know it beforehand
    let at = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let through = cql.through(&nodes.address).through_redis(&redis.address);
    let settings = write_settings(&through, dir.path(), &at);
    let (url, dir) = (upstream.url_v2(), dir.path());
    let serve = async |roles, more: &[&str]| {
        let all = ["--config", &settings, "--roles", roles, "--enrol", "all"];
        Serve::start(dir, &url, &[&all, more].concat()).await
    };
    let indexer = serve("indexer", &["--cursor", "0"]).await;
    indexer.applied_records(end).await;
    let graph = serve("graph", &[]).await;
    let (writer, api) = (serve("writer", &[]).await, serve("api", &[]).await);
    for role in [&indexer, &graph, &writer, &api] {
        ready(role, "gives no answer").await;
        assert_eq!(unreachable(role, "cql").await, 0.0);
    }
    let reader = reader(&api, &network).await;

    redis.cut();
    not_ready(&indexer, REDIS, "the indexer can't commit").await;
    not_ready(&writer, REDIS, "the writer can't take tasks").await;
    assert!(unreachable(&writer, "redis").await >= 1.0);
    let note = format!("\nnote: {REDIS}");
    // reads go on
    api.until("/readyz", |status, said| status == 200 && said.contains(&note)).await;
    assert!(!api.timeline(&reader).await.is_empty());
    ready(&graph, "gives no answer").await;
    redis.mend();
    for role in [&indexer, &graph, &writer, &api] {
        ready(role, "gives no answer").await;
    }
    assert_eq!(unreachable(&writer, "redis").await, 0.0);

    nodes.cut();
    not_ready(&indexer, CQL, "the indexer can't commit").await;
    not_ready(&graph, CQL, "the graph can't page followers").await;
    not_ready(&writer, CQL, "the writer can't write timelines").await;
    not_ready(&api, CQL, "the API can't answer reads").await;
    nodes.mend();
    for role in [&indexer, &graph, &writer, &api] {
        ready(role, "gives no answer").await;
    }

    graph.signal("KILL").await;
    graph.ended().await;
    not_ready(&writer, GRAPH, "the writer can't page followers").await;
    ready(&api, "gives no answer").await;
    let graph = serve("graph", &[]).await;
    ready(&writer, "gives no answer").await;
    for role in [indexer, writer, api, graph] {
        role.stop().await;
    }
}
