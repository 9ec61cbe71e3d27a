//! A service whose writer asks its follower graph over a socket: the timelines are the same.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Serve, metric, network, upstream};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn timelines_are_the_same_over_a_served_graph() {
    let (network, events) = network(3_000);
    let end = events.last().unwrap().time_us;
    let upstream = upstream().await;
    let (over_a_socket, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // a free one, as whoever asks has to know it beforehand
    let at = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let settings = over_a_socket.path().join("skyweir.toml");
    let text = format!("[graph]\npage = 5\nlisten = \"{at}\"\nremote = [\"{at}\"]\n");
    std::fs::write(&settings, text).unwrap();
    let all = ["--cursor", "0", "--enrol", "all", "--cap", "100"];
    let data = over_a_socket.path().join("data");
    let over = [&["--config", settings.to_str().unwrap()], &all[..]].concat();
    let serve = Serve::start(&data, &upstream.url_v2(), &over).await;
    let other = Serve::start(plain.path(), &upstream.url_v2(), &all).await;
    upstream.push_many(events);
    serve.applied(end).await;
    other.applied(end).await;
    let mut items = 0;
    for actor in 0..network.actors() {
        let did = network.did(actor);
        let found = serve.timeline(&did).await;
        assert_eq!(found, other.timeline(&did).await, "timeline of actor {actor}");
        items += found.len();
    }
    assert!(items > 500, "only {items} items were compared");
    // one connection, on which the snapshot is watched
    let at_rest = |text: &str| metric(text, "skyweir_graph_open_streams") == Some(1.0);
    let text = serve.until("/metrics", |_, text| at_rest(text)).await;
    assert_eq!(metric(&text, "skyweir_graph_open_connections"), Some(1.0));
    assert!(metric(&text, "skyweir_graph_served_pages_total").is_some_and(|pages| pages > 100.0), "{text}");
    let (_, text) = other.get("/metrics").await;
    assert_eq!(metric(&text, "skyweir_graph_served_pages_total"), None);
    serve.stop().await;
    other.stop().await;
}
