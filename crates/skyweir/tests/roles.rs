//! The roles in processes of their own, over one keyspace and one Redis: the timelines are those of one process that is
//! never disturbed.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::Path;

use common::cql::Cql;
use common::{Serve, metric, network, run, soon, upstream};
use tokio::net::TcpListener;

/// Settings of all processes: they differ by the role, and each machine's indexer by its name.
fn write_settings(cql: &Cql, dir: &Path, holder: &str, graph: &str) -> String {
    let file = dir.join(format!("{holder}.toml"));
    let text = cql.settings(&format!("holder = \"{holder}\"\nlease_ms = 60000\nclaim_ms = 3000\n"));
    let graph = format!("[graph]\npage = 5\nlisten = \"{graph}\"\nremote = [\"{graph}\"]\n");
    std::fs::write(&file, text + &graph).unwrap();
    file.to_str().unwrap().to_owned()
}

async fn serve(dir: &Path, source: &str, settings: &str, roles: &str, more: &[&str]) -> Serve {
    let all = ["--config", settings, "--roles", roles, "--enrol", "all", "--cap", "100"];
    Serve::start(dir, source, &[&all, more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_are_the_same_from_processes_that_come_and_go() {
    let Some(cql) = Cql::find("roles").await else { return };
    let (network, events) = network(3_000);
    let end = events.last().unwrap().time_us;
    let upstream = upstream().await;
    let url = upstream.url_v2();
    let (dir, peaceful) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = dir.path();
    // a free one, as whoever asks has to know it beforehand
    let at = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let one = write_settings(&cql, dir, "one", &at);
    let two = write_settings(&cql, dir, "two", &at);

    let mut thirds = events.chunks(events.len() / 3 + 1);
    let indexer = serve(dir, &url, &one, "indexer", &["--cursor", "0"]).await;
    let graph = serve(dir, &url, &one, "graph", &[]).await;
    let (writer, second) =
        tokio::join!(serve(dir, &url, &one, "writer", &[]), serve(dir, &url, &two, "writer", &[]));
    let api = serve(dir, &url, &one, "api", &[]).await;
    // nothing was read upstream: nobody knows yet whether an archive comes first
    let (status, said) = writer.get("/readyz").await;
    assert!(status == 503 && said.contains("\nreason: loading: the indexer"), "{said}");
    let third = thirds.next().unwrap();
    let so_far = third.last().unwrap().time_us;
    upstream.push_many(third.to_vec());
    indexer.applied_records(so_far).await;
    let (status, said) = indexer.get("/hot").await;
    assert!(status == 404 && said.contains("has not the role writer"), "{said}");
    let roles =
        [(&indexer, "indexer"), (&graph, "graph"), (&writer, "writer"), (&second, "writer"), (&api, "api")];
    for (serve, roles) in roles {
        let said = serve.until("/readyz", |status, _| status == 200).await;
        assert!(said.starts_with(&format!("ready\nroles: {roles}\n")), "{said}");
        let (code, out, _) = run(&["status", "--admin", &serve.admin]).await;
        assert!(code == 0 && out.contains(&format!("roles: {roles}\n")), "{out}");
    }

    // another machine's takes over at once: the lease was given back
    indexer.stop().await;
    let indexer = serve(dir, &url, &two, "indexer", &[]).await;
    graph.signal("KILL").await;
    let third = thirds.next().unwrap();
    let so_far = third.last().unwrap().time_us;
    upstream.push_many(third.to_vec());
    indexer.applied_records(so_far).await;
    for killed in [&writer, &api] {
        killed.signal("KILL").await;
    }
    upstream.push_many(thirds.next().unwrap().to_vec());
    for killed in [graph, writer, api] {
        killed.ended().await;
    }
    let graph = serve(dir, &url, &one, "graph", &[]).await;
    let api = serve(dir, &url, &one, "api", &[]).await;
    // what the killed one had is done by the other one, and by this one
    let writer = serve(dir, &url, &one, "writer", &[]).await;
    indexer.applied_records(end).await;

    let other = Serve::start(peaceful.path(), &url, &["--cursor", "0"]).await;
    other.applied(end).await;
    let mut items = 0;
    for actor in 0..network.actors() {
        let did = network.did(actor);
        let wanted = other.timeline(&did).await;
        // the writer may still be at work
        soon(&did, async { while api.timeline(&did).await != wanted {} }).await;
        items += wanted.len();
    }
    assert!(items > 500, "only {items} items were compared");
    let text = writer
        .until("/metrics", |_, text| {
            metric(text, "skyweir_writer_enrolled_timelines").is_some_and(|n| n >= 60.0)
        })
        .await;
    assert_eq!(metric(&text, "skyweir_indexer_stream_time_seconds"), None, "it reads no events");
    let cached = |text: &str| {
        let items =
            text.lines().find_map(|line| line.strip_prefix("skyweir_api_items_total{source=\"cache\"} "));
        items.map_or(0, |items| items.parse::<u64>().unwrap())
    };
    // what was merged so far comes from the cache by and by, and is the same
    let mut before = cached(&api.get("/metrics").await.1);
    soon("all of them from the cache", async {
        loop {
            for actor in 0..network.actors() {
                let did = network.did(actor);
                let wanted = other.timeline(&did).await;
                while api.timeline(&did).await != wanted {}
            }
            let now = cached(&api.get("/metrics").await.1);
            if now > before + 500 {
                break;
            }
            before = now;
        }
    })
    .await;
    let (_, text) = graph.get("/metrics").await;
    assert!(metric(&text, "skyweir_graph_served_pages_total").is_some_and(|pages| pages > 10.0), "{text}");
    for serve in [indexer, writer, second, api, graph, other] {
        serve.stop().await;
    }
}
