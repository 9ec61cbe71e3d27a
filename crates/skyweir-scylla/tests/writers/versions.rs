//! Writers of two versions side by side: the older one meets news that it can't read.

use std::time::Duration;

use skyweir_scylla::RowsConfig;
use skyweir_store::Timelines as _;
use skyweir_types::Clock;
use tokio::time::Instant;

use crate::until;
use crate::world::{V, at_servers, begin, open, quiet, retained, tell_unreadable};

#[test]
fn however_many_unreadable_news_come_a_look_ends() {
    at_servers(async |servers| {
        let (one, other) = (open(servers, &quiet()).await, open(servers, &quiet()).await);
        begin(&one, V, Clock::system().now_micros()).await;
        tell_unreadable(servers).await;
        let flood = until(async || {
            tell_unreadable(servers).await;
            false
        });
        tokio::select! {
            () = flood => {}
            looked = other.refresh() => looked.unwrap(),
        }
        assert_eq!(retained(&other), [V]);
    });
}

#[test]
fn between_two_loads_is_a_pause() {
    at_servers(async |servers| {
        let reload_ms = 300;
        let other = open(servers, &RowsConfig { reload_ms, ..quiet() }).await;
        let begun = Instant::now();
        for _ in 0..3 {
            tell_unreadable(servers).await;
            other.refresh().await.unwrap();
        }
        // the first one's began when it was opened
        assert!(begun.elapsed() >= 2 * Duration::from_millis(reload_ms), "{:?}", begun.elapsed());
    });
}
