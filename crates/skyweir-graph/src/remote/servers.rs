//! The servers of a graph: a connection to each, in turn, those that failed lately last.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skyweir_proto::skyweir::graph::v1::follower_graph_client::FollowerGraphClient;
use skyweir_store::{Away, Error, Reach};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::{Address, Config};

/// A server that failed is asked last for this long.
const AVOID: Duration = Duration::from_secs(5);
/// A connection is made within this, or the server counts as failed: they stand side by side.
const CONNECT: Duration = Duration::from_secs(1);
/// What a server may send of a stream before it is read, bytes: three pages of 10,000, so that the next one is there
/// when it is wanted.
const WINDOW: u32 = 128 << 10;
/// What it may send on all streams of a connection: the most there is. Streams are bounded by themselves, and one that
/// isn't read must not hold back the others.
const WINDOW_OF_ALL: u32 = (1 << 31) - 1;
/// The largest message, bytes: a page of 100,000 followers has 400 KB.
const MESSAGE_MOST: usize = 1 << 20;

/// All servers.
pub(crate) struct Servers {
    servers: Vec<Arc<Server>>,
    next: AtomicUsize,
}

/// One server.
pub(crate) struct Server {
    address: Address,
    client: FollowerGraphClient<Channel>,
    failed: Mutex<Option<Instant>>,
    reach: Reach,
}

impl Servers {
    /// Nobody is connected to yet.
    pub(crate) fn new(config: Config) -> Self {
        let keepalive = Duration::from_millis(config.keepalive_ms);
        let server = |address: Address| {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))
                .expect("a host and a port make an address")
                .connect_timeout(CONNECT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(keepalive)
                .keep_alive_timeout(keepalive)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW_OF_ALL);
            let client = FollowerGraphClient::new(endpoint.connect_lazy());
            let client = client.max_decoding_message_size(MESSAGE_MOST);
            Arc::new(Server { address, client, failed: Mutex::default(), reach: Reach::default() })
        };
        Self { servers: config.remote.into_iter().map(server).collect(), next: AtomicUsize::new(0) }
    }

    /// Each once: beginning with another one each time, those that failed lately at the end.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &Arc<Server>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.servers.len().max(1);
        let (before, from) = self.servers.split_at(first);
        let (avoided, sound): (Vec<_>, Vec<_>) =
            from.iter().chain(before).partition(|server| server.is_avoided());
        sound.into_iter().chain(avoided)
    }

    /// Since when none of them gives anything, unless one does.
    pub(crate) fn away(&self) -> Option<Away> {
        let away: Option<Vec<_>> = self.servers.iter().map(|server| server.reach.away()).collect();
        away?.into_iter().max_by_key(|away| away.since)
    }
}

impl Server {
    pub(crate) fn client(&self) -> FollowerGraphClient<Channel> {
        self.client.clone()
    }

    /// Others are asked before it for a while. Hands back why.
    pub(crate) fn failed(&self, why: Error) -> Error {
        let (Error::Unavailable(said) | Error::Corrupt(said) | Error::Limit(said)) = &why;
        // many streams fail together, and each try of one that is gone: it is said once
        if self.reach.failed(Instant::now(), said) {
            tracing::warn!(error = %why, "others are asked instead, if there are any");
        }
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        why
    }

    /// It gave what it was asked for.
    pub(crate) fn answered(&self) {
        if self.reach.answered() {
            tracing::info!("{self} answers again");
        }
    }

    fn is_avoided(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < AVOID)
    }

    /// It gave no answer in time.
    pub(crate) fn silent(&self, timeout: Duration) -> Error {
        let ms = timeout.as_millis();
        Error::Unavailable(format!("{self} gave no answer within {ms} ms (graph.timeout_ms)"))
    }

    /// It answered what no server of ours answers.
    pub(crate) fn strange(&self, what: &str) -> Error {
        Error::Unavailable(format!("{self}: {what}; does the same version of Skyweir run there?"))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server of the follower graph at {}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts what is said.
    struct Said(Arc<AtomicUsize>);

    impl tracing::Subscriber for Said {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let is_ours = event.metadata().module_path() == Some(module_path!().trim_end_matches("::tests"));
            self.0.fetch_add(usize::from(is_ours), Ordering::Relaxed);
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_is_told_of_once() {
        let servers = Servers::new(Config { remote: vec!["a:1".parse().unwrap()], ..Config::default() });
        let (server, said) = (&servers.servers[0], Arc::new(AtomicUsize::new(0)));
        let _here = tracing::subscriber::set_default(Said(said.clone()));
        let lines = || said.load(Ordering::Relaxed);
        for _ in 0..3 {
            server.failed(Error::Unavailable("x".into()));
            tokio::time::advance(AVOID * 2).await;
        }
        assert_eq!(lines(), 1);
        // that it is back is said, and that it is gone again
        for wanted in [2, 2, 3, 3] {
            if wanted == 2 {
                server.answered();
            } else {
                server.failed(Error::Unavailable("x".into()));
            }
            assert_eq!(lines(), wanted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn none_is_there_once_the_last_one_has_failed() {
        let remote = ["a:1", "b:1"].map(|text| text.parse().unwrap()).to_vec();
        let servers = Servers::new(Config { remote, ..Config::default() });
        let [first, second] = [&servers.servers[0], &servers.servers[1]];
        first.failed(Error::Unavailable("one".into()));
        assert_eq!(servers.away(), None);
        tokio::time::advance(AVOID).await;
        second.failed(Error::Unavailable("other".into()));
        let since = Instant::now();
        tokio::time::advance(AVOID).await;
        first.failed(Error::Unavailable("one".into()));
        let away = servers.away().unwrap();
        assert_eq!(away, Away { since, why: "other".into() });
        first.answered();
        assert_eq!(servers.away(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_failed_comes_last_for_a_while() {
        let remote = ["a:1", "b:1", "c:1"].map(|text| text.parse().unwrap()).to_vec();
        let servers = Servers::new(Config { remote, ..Config::default() });
        let order =
            || servers.in_order().map(|server| server.address.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(
            [order(), order(), order(), order()],
            ["a:1 b:1 c:1", "b:1 c:1 a:1", "c:1 a:1 b:1", "a:1 b:1 c:1"]
        );
        let why = servers.servers[1].failed(Error::Unavailable("x".into()));
        assert!(matches!(why, Error::Unavailable(_)));
        assert_eq!([order(), order(), order()], ["c:1 a:1 b:1", "c:1 a:1 b:1", "a:1 c:1 b:1"]);
        tokio::time::advance(AVOID).await;
        assert_eq!(order(), "b:1 c:1 a:1");
    }
}
