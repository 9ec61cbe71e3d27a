//! Wishes of reads in another process than the writer's.

use std::sync::{Arc, Mutex};

use skyweir_scylla::{Cluster, Config, RemoteEnrol, RowsConfig, take_wishes};
use skyweir_store::{Enrol, EnrolReason, IdleRule, Timelines as _};
use skyweir_types::{ActorId, Clock};

use crate::common::Servers;
use crate::server::OwnRedis;
use crate::until;
use crate::world::{V, at_servers, begin, keeping_up, open, quiet, retained};

/// A writer that notes what is wished of it.
#[derive(Default)]
struct Noted(Mutex<Vec<(u32, String)>>);

impl Noted {
    fn note(&self, viewer: ActorId, what: String) {
        self.0.lock().unwrap().push((viewer.0, what));
    }

    fn sorted(&self) -> Vec<(u32, String)> {
        let mut noted = self.0.lock().unwrap().clone();
        noted.sort();
        noted
    }
}

impl Enrol for Noted {
    fn enrol(&self, viewer: ActorId, why: EnrolReason) {
        self.note(viewer, format!("{why:?}"));
    }

    fn touch(&self, viewer: ActorId) {
        self.note(viewer, "touch".into());
    }

    fn lower_rate(&self, viewer: ActorId, rate: f32) {
        self.note(viewer, rate.to_string());
    }

    fn caught_up(&self) -> bool {
        false
    }
}

async fn cluster(servers: &Servers, wishes_most: usize) -> Cluster {
    Cluster::connect(&Config { wishes_most, ..servers.config.clone() }).await.unwrap()
}

/// Lets a writer take wishes until it has so many; it has room for two at a time.
async fn take(cluster: &Cluster, noted: &Arc<Noted>, n: usize) {
    let taking = take_wishes(cluster, Arc::clone(noted) as _, || 2);
    tokio::select! {
        ended = taking => panic!("{ended:?}"),
        () = until(async || noted.0.lock().unwrap().len() >= n) => {}
    }
}

#[test]
fn wishes_come_to_one_writer_and_reads_to_all() {
    at_servers(async |servers| {
        let cluster = cluster(servers, 10).await;
        let list = format!("{}:wishes", servers.config.keyspace);
        let rows = [open(servers, &keeping_up()).await, open(servers, &keeping_up()).await];
        let generation = begin(&rows[0], V, 5_000_000).await;
        assert!(rows[0].publish(V, generation, &[], i64::MIN, 1).await.unwrap());
        let remote = RemoteEnrol::connect(&cluster, Clock::manual(200_000_000)).await.unwrap();
        assert!(remote.caught_up());
        remote.touch(V);
        remote.lower_rate(V, 0.25);
        // the later of two wishes for one counts
        remote.enrol(ActorId(2), EnrolReason::Read);
        remote.enrol(ActorId(2), EnrolReason::FloorHigh);
        remote.enrol(ActorId(3), EnrolReason::RateRose);
        let noted = [Arc::new(Noted::default()), Arc::new(Noted::default())];
        take(&cluster, &noted[0], 3).await;
        let wanted =
            [(2, "FloorHigh"), (3, "RateRose"), (4, "0.25")].map(|(viewer, what)| (viewer, what.into()));
        assert_eq!(noted[0].sorted(), wanted);
        for rows in &rows {
            let rule = IdleRule { read_before_ms: 100_000, once_before_ms: 0 };
            until(async || rows.idle(rule, 9).await.unwrap().is_empty()).await;
        }
        remote.enrol(V, EnrolReason::Read);
        take(&cluster, &noted[1], 1).await;
        assert_eq!((noted[0].sorted().len(), noted[1].sorted()), (3, vec![(4, "Read".into())]));
        // nobody takes any: they are bounded
        for viewer in 0..25 {
            remote.enrol(ActorId(viewer), EnrolReason::Read);
            if viewer == 7 {
                until(async || servers.redis("LLEN", &[&list]).await == redis::Value::Int(8)).await;
            }
        }
        until(async || servers.redis("LLEN", &[&list]).await == redis::Value::Int(10)).await;
    });
}

#[test]
fn a_burst_of_reads_pushes_out_older_ones_and_no_news() {
    at_servers(async |servers| {
        let [news, reads] = ["news", "reads"].map(|key| format!("{}:{key}", servers.config.keyspace));
        let config = RowsConfig { news_most: 10, reads_most: 1_600, ..quiet() };
        let (one, other) = (open(servers, &config).await, open(servers, &config).await);
        begin(&one, V, 5_000_000).await;
        servers.config.timelines = config;
        let clock = Clock::manual(200_000_000);
        let remote = RemoteEnrol::connect(&cluster(servers, 10).await, clock.clone()).await.unwrap();
        for _ in 0..3 {
            clock.advance_ms(60_000);
            // 1,600 of them are told, in 50 entries
            (0..2_000).for_each(|viewer| remote.touch(ActorId(viewer)));
            let now_ms = clock.now_ms().to_string();
            let last = async || servers.redis_text("XREVRANGE", &[&reads, "+", "-", "COUNT", "1"]).await;
            until(async || last().await.contains(&now_ms)).await;
        }
        let length = async |key: &String| match servers.redis("XLEN", &[key]).await {
            redis::Value::Int(length) => length,
            other => panic!("{other:?} is no length"),
        };
        assert!((50..150).contains(&length(&reads).await), "by whole nodes");
        assert_eq!(length(&news).await, 1);
        other.refresh().await.unwrap();
        assert_eq!(retained(&other), [V]);
    });
}

#[test]
fn without_redis_wishes_are_dropped_and_nobody_waits() {
    at_servers(async |servers| {
        let Some(mut redis) = OwnRedis::start() else { return };
        servers.config.redis = redis.url();
        servers.config.request_timeout_ms = 1_000;
        let cluster = cluster(servers, 10).await;
        let remote = RemoteEnrol::connect(&cluster, Clock::system()).await.unwrap();
        redis.kill();
        for viewer in 0..100 {
            remote.enrol(ActorId(viewer), EnrolReason::Read);
            remote.touch(ActorId(viewer));
        }
        redis.start_again();
        let noted = Arc::new(Noted::default());
        let taking = take_wishes(&cluster, Arc::clone(&noted) as _, || 2);
        let wished = until(async || {
            // as each of its reads does
            remote.enrol(V, EnrolReason::Read);
            noted.sorted().contains(&(V.0, "Read".into()))
        });
        tokio::select! {
            ended = taking => panic!("{ended:?}"),
            () = wished => {}
        }
    });
}
