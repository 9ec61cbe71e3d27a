//! What a writer leaves that dies between two steps of a change, and who clears it away. Its steps are made by hand.

use skyweir_scylla::{Cluster, Config, Rows, RowsReader};
use skyweir_store::{CachedState, Enrolment, TimelineReads as _, Timelines as _};
use skyweir_types::{Clock, DrawKey, Generation, TaskId};

use crate::common::Servers;
use crate::server::OwnRedis;
use crate::world::{
    DID, V, apply, at_servers, begin, held, keeping_up, open, open_with, quiet, reference, retained, state,
};
use crate::{W, until};

const NOW_US: i64 = 1_800_000_000_000_000;

async fn change(servers: &Servers, statement: String) {
    let statement = statement.replace("{ks}", &servers.config.keyspace);
    servers.session().await.query_unpaged(statement, ()).await.unwrap();
}

/// What a process sees that only reads.
async fn seen(servers: &Servers) -> CachedState {
    let reader = RowsReader::open(&Cluster::connect(&servers.config).await.unwrap()).await.unwrap();
    reader.read(V, i64::MAX, 0).await.unwrap().state
}

/// The row of a generation that was begun, and nothing else of it.
async fn begun(servers: &Servers, generation: Generation) {
    let row = format!(
        "UPDATE {{ks}}.enrolled SET state = 0, generation = {generation} WHERE viewer = {V} IF EXISTS"
    );
    change(servers, row).await;
}

#[test]
fn a_beginning_without_a_removal_is_cleared_by_whoever_loads() {
    at_servers(async |servers| {
        let clock = Clock::manual(NOW_US);
        let dead = open_with(servers, &quiet(), DrawKey::default(), &clock).await;
        let former = begin(&dead, V, NOW_US - 5).await;
        assert!(dead.publish(V, former, &[reference(9), reference(8)], 7, 1).await.unwrap());
        begun(servers, Generation(former.0 + 1)).await;
        assert!(matches!(seen(servers).await, CachedState::In(_)));
        let other = open_with(servers, &quiet(), DrawKey::default(), &clock).await;
        assert_eq!(state(&other, V).await, CachedState::Filling(Generation(former.0 + 1)));
        // or this would lower the floor of the former one, and let it miss what is between
        other.fill(V, &[reference(3)], 2).await.unwrap();
        assert_eq!(seen(servers).await, CachedState::Out);
    });
}

#[test]
fn a_leaving_removes_rows_although_another_generation_has_begun() {
    at_servers(async |servers| {
        let one = open(servers, &quiet()).await;
        let generation = begin(&one, V, NOW_US).await;
        assert!(one.publish(V, generation, &[reference(9)], 7, 1).await.unwrap());
        begun(servers, Generation(generation.0 + 1)).await;
        assert!(!one.leave(V, generation).await.unwrap());
        // nobody writes to it any more
        assert_eq!((retained(&one), seen(servers).await), (vec![], CachedState::Out));
    });
}

/// Redis takes no news, so nobody hears of what is removed meanwhile: by whoever loads, nor by a leaving.
#[test]
fn what_left_without_a_word_is_told_by_whoever_loads_next() {
    at_servers(async |servers| {
        let Some(redis) = OwnRedis::start() else { return };
        servers.config.redis = redis.url();
        let (one, other) = (open(servers, &quiet()).await, open(servers, &quiet()).await);
        let mut left = Vec::new();
        for viewer in [V, W] {
            let generation = begin(&one, viewer, Clock::system().now_micros()).await;
            assert!(one.publish(viewer, generation, &[reference(9)], 7, 1).await.unwrap());
            left.push(generation);
        }
        other.refresh().await.unwrap();
        // somebody died while it ended this one
        change(servers, format!("UPDATE {{ks}}.enrolled SET state = 2 WHERE viewer = {V} IF EXISTS")).await;
        redis.be_full(true);
        let cluster =
            Cluster::connect(&Config { timelines: quiet(), ..servers.config.clone() }).await.unwrap();
        let again =
            async || Rows::open(&cluster, DrawKey::default(), TaskId(1), TaskId(0), Clock::system()).await;
        assert!(again().await.is_err());
        assert_eq!(seen(servers).await, CachedState::Out);
        assert!(one.leave(W, left[1]).await.is_err());
        redis.be_full(false);
        other.refresh().await.unwrap();
        assert_eq!(retained(&other), [V, W], "nobody has told it yet");
        let late = again().await.unwrap();
        other.refresh().await.unwrap();
        assert_eq!((retained(&late), retained(&other)), (vec![], vec![]));
        // it is told once: what is told has left
        let stream = format!("{}:news", servers.config.keyspace);
        let told = servers.redis("XLEN", &[&stream]).await;
        again().await.unwrap();
        assert_eq!(servers.redis("XLEN", &[&stream]).await, told);
    });
}

#[test]
fn who_reads_what_has_left_without_a_word_tells_it() {
    at_servers(async |servers| {
        let (one, other) = (open(servers, &quiet()).await, open(servers, &keeping_up()).await);
        let generation = begin(&one, V, Clock::system().now_micros()).await;
        assert!(one.publish(V, generation, &[reference(9)], 7, 1).await.unwrap());
        other.refresh().await.unwrap();
        change(servers, format!("UPDATE {{ks}}.enrolled SET state = 3 WHERE viewer = {V} IF EXISTS")).await;
        let rows = format!("DELETE FROM {{ks}}.timeline USING TIMESTAMP {generation} WHERE viewer = {V}");
        change(servers, rows).await;
        assert_eq!((retained(&one), retained(&other)), (vec![V], vec![V]));
        assert_eq!(state(&other, V).await, CachedState::Out);
        until(async || retained(&other).is_empty()).await;
        one.refresh().await.unwrap();
        assert_eq!(retained(&one), []);
        assert_eq!(apply(&one, V, reference(10)).await.hibernating, 1);
    });
}

#[test]
fn a_publication_that_loses_leaves_nothing_that_answers() {
    at_servers(async |servers| {
        let one = open(servers, &quiet()).await;
        let generation = begin(&one, V, NOW_US).await;
        begun(servers, Generation(generation.0 + 1)).await;
        assert!(!one.publish(V, generation, &[reference(9)], 7, 1).await.unwrap());
        assert_eq!((retained(&one), seen(servers).await), (vec![], CachedState::Out));
    });
}

/// News are lost just then, so the row is loaded, which has no rate.
#[test]
fn a_beginning_keeps_its_rate_when_all_is_loaded_within_it() {
    at_servers(async |servers| {
        let one = open(servers, &quiet()).await;
        begin(&one, V, NOW_US).await;
        servers.redis("DEL", &[&format!("{}:news", servers.config.keyspace)]).await;
        let now_us = Clock::system().now_micros();
        let generation = one.begin(V, Enrolment { did_hash: DID, rate: 0.6, now_us }).await.unwrap();
        assert!(one.publish(V, generation, &[], i64::MIN, 1).await.unwrap());
        assert_eq!(held(&one, V).await.0.rate, 0.6);
    });
}
