//! A batch whose answer doesn't come. That one node of several stands still is judged by the binary's test `nodes`.

use std::time::Duration;

use skyweir_scylla::RowsConfig;
use skyweir_store::{Shape, Timelines as _};
use skyweir_types::ActorId;
use tokio::time::{Instant, timeout};

use crate::proxy::Proxy;
use crate::{apply, at_server, connect, enrol, held, reference, rows_config};

/// No step takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// One batch at a time, of eight references: two batches take turns.
#[test]
fn what_is_not_answered_is_sent_again_and_waited_for() {
    at_server(|mut servers| async move {
        if servers.config.nodes.len() > 1 {
            println!("skipped: of several nodes only one is behind the proxy");
            return;
        }
        let proxy = Proxy::before(&servers.config.nodes[0]).await;
        servers.config.nodes = vec![proxy.wire.address.clone()];
        let config = RowsConfig { batches_in_flight: 1, shards_per_node: 1, ..rows_config(Shape::default()) };
        // not at once, and not only when any request counts as lost
        let [from, to] = [config.resend_ms, servers.config.request_timeout_ms].map(Duration::from_millis);
        let in_time = |took: Duration| assert!((from..to).contains(&took), "sent again after {took:?}");
        let rows = connect(&servers, &config).await;
        let shard = rows.shard_of(ActorId(0));
        let viewers: Vec<_> = (0..).map(ActorId).filter(|v| rows.shard_of(*v) == shard).take(16).collect();
        for viewer in &viewers {
            enrol(&rows, *viewer, i64::MIN).await;
        }
        let before = proxy.batches().len();
        let (some, others) = viewers.split_at(8);

        // neither its answer comes, nor soon that to the same sent again
        proxy.keep_answers(2);
        let began = Instant::now();
        let beside = async {
            proxy.kept(2).await;
            in_time(began.elapsed());
            // others have the place meanwhile, and while one of them is stalled as long, the first is still waited for
            proxy.keep_answers(1);
            assert_eq!(apply(&rows, others, reference(2)).await.written, 8);
            proxy.kept(3).await;
            proxy.release();
        };
        let both = async { tokio::join!(apply(&rows, some, reference(1)), beside) };
        let (first, ()) = timeout(PATIENCE, both).await.expect("both are written");
        assert_eq!(first.written, 8);

        // what was sent in them says nothing of what is next: how many it has, where it goes, how long it may take
        for (n, viewers) in [(3, &viewers[..5]), (4, &viewers[..]), (5, &viewers[3..14])] {
            assert_eq!(apply(&rows, viewers, reference(n)).await.written, viewers.len() as u64);
        }
        proxy.keep_answers(1);
        let began = Instant::now();
        let last = timeout(PATIENCE, apply(&rows, some, reference(6))).await.expect("it is written");
        in_time(began.elapsed());
        assert_eq!(last.written, 8);

        let batches = &proxy.batches()[before..];
        let sizes: Vec<u16> = batches.iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes, [8, 8, 5, 8, 8, 8, 3, 8], "{batches:?}");
        // a busy machine is as late as a proxy
        assert!([0, 1, 7].iter().all(|stalled| batches[*stalled].1 >= 2), "{batches:?}");
        for (at, viewer) in viewers.iter().enumerate() {
            let of = |n: i64, has: bool| has.then_some(n);
            let wanted = [
                of(6, at < 8),
                of(5, (3..14).contains(&at)),
                Some(4),
                of(3, at < 5),
                Some(if at < 8 { 1 } else { 2 }),
            ];
            let wanted: Vec<i64> = wanted.into_iter().flatten().collect();
            let (info, times) = held(&rows, *viewer).await;
            assert_eq!((info.len, times), (wanted.len(), wanted), "{viewer}");
        }
    });
}
