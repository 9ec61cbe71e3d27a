//! A service that is ended in the midst of its work and started again, beside one that never was.

use std::path::Path;

use skyweir_loadtest::Network;

use super::{Serve, network, upstream};

/// What happens to it.
pub(crate) struct Disturbed<'a> {
    pub(crate) dir: &'a Path,
    /// Its arguments beside those of any service.
    pub(crate) more: &'a [&'a str],
    pub(crate) events: u64,
    pub(crate) signal: &'a str,
    /// How it has to end.
    pub(crate) code: i32,
}

impl Disturbed<'_> {
    /// Ends it in the midst of its work, lets another finish, and compares all its timelines with the merged ones of a
    /// service on an empty directory that was never disturbed. Both still run.
    pub(crate) async fn survives(&self, peaceful: &Path) -> (Serve, Serve, Network) {
        let (network, events) = network(self.events);
        let end = events.last().unwrap().time_us;
        let mut events = events.into_iter();
        let upstream = upstream().await;
        let serve =
            Serve::start(self.dir, &upstream.url_v2(), &[&["--cursor", "0"], self.more].concat()).await;
        let feed = async {
            // what is left comes after the signal, however slow the service is
            for _ in 0..self.events * 3 / 400 {
                let seq = upstream.push_many(events.by_ref().take(100)).unwrap();
                upstream.sent(seq).await;
            }
            std::future::pending().await
        };
        let disturb = async {
            serve
                .until("/metrics", |_, text| text.contains("skyweir_indexer_events_total{kind=\"post\""))
                .await;
            serve.signal(self.signal).await;
            serve.ended().await
        };
        let (ended, said) = tokio::select! {
            () = feed => unreachable!(),
            ended = disturb => ended,
        };
        assert_eq!(ended, self.code, "{said}");
        assert!(events.len() as u64 >= self.events / 4, "the service was ended with all of its events");
        upstream.push_many(events);

        let serve = Serve::start(self.dir, &upstream.url_v2(), self.more).await;
        serve.applied(end).await;
        serve.until("/readyz", |status, _| status == 200).await;
        let other = Serve::start(peaceful, &upstream.url_v2(), &["--cursor", "0"]).await;
        other.applied(end).await;
        let mut items = 0;
        for actor in 0..network.actors() {
            let did = network.did(actor);
            let (found, wanted) = (serve.timeline(&did).await, other.timeline(&did).await);
            assert_eq!(found, wanted, "timeline of actor {actor}");
            items += found.len();
        }
        assert!(items > 1_000, "only {items} items were compared");
        let cached = "skyweir_api_items_total{source=\"cache\"} ";
        let (_, text) = serve.get("/metrics").await;
        assert!(
            text.lines().any(|line| line.strip_prefix(cached).is_some_and(|n| n != "0")),
            "nothing was cached"
        );
        (serve, other, network)
    }
}
