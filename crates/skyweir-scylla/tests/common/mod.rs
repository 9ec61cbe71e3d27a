//! What the tests of this crate need: the servers, and an empty keyspace for each.
#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "each test binary uses its part, and says what it leaves out"
)]

pub(crate) mod wire;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::future::join_all;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use skyweir_scylla::{Config, Dialect, schema_statements};
use tokio::sync::{Mutex, MutexGuard};

/// The tables of timelines; the others are those of records.
pub(crate) const OF_TIMELINES: [&str; 3] = ["enrolled", "kept", "timeline"];

/// One test of a process at a time: they share a keyspace, as making tables is slow.
static ONE: Mutex<()> = Mutex::const_new(());

/// The servers that the environment names, and an empty keyspace there.
pub(crate) struct Servers {
    pub(crate) config: Config,
    _one: MutexGuard<'static, ()>,
}

impl Servers {
    /// `None`, and a word about it, when there are none. The keyspace has the test binary's name, and one of its
    /// tables' layout and of where it was built: a server that outlives a change isn't in the way, nor does another
    /// checkout's run empty what this one fills.
    pub(crate) fn find(name: &str) -> Option<Self> {
        let (Ok(cql), Ok(redis)) = (std::env::var("SKYWEIR_TEST_CQL"), std::env::var("SKYWEIR_TEST_REDIS"))
        else {
            assert!(
                std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() != Ok("1"),
                "SKYWEIR_TEST_CQL and SKYWEIR_TEST_REDIS name no servers"
            );
            println!("skipped: SKYWEIR_TEST_CQL and SKYWEIR_TEST_REDIS name no servers");
            return None;
        };
        let nodes: Vec<_> = cql.split(',').map(str::to_owned).collect();
        let config = Config {
            replication: nodes.len().min(3) as u8,
            nodes,
            keyspace: format!("skyweir_test_{name}_{:x}", build()),
            redis,
            // a busy machine's servers are slow
            request_timeout_ms: 20_000,
            connections: 1,
            ..Config::default()
        };
        Some(Self { config, _one: ONE.blocking_lock() })
    }

    /// How many of so many seeds are run: on three nodes each write is done three times, on the same cores.
    pub(crate) fn seeds(&self, n: u64) -> u64 {
        if self.config.nodes.len() > 1 { 1 } else { n }
    }

    /// Takes all away that a former test has left.
    pub(crate) async fn empty(&self) {
        self.empty_those(|_| true).await;
    }

    /// The same where no test of this binary writes to other tables: emptying one is as much work for the server as some
    /// hundred writes.
    pub(crate) async fn empty_those(&self, used: impl Fn(&str) -> bool) {
        let Config { keyspace, replication, .. } = &self.config;
        let session = self.session().await;
        // without a commit log, tables are emptied without a flush to disk
        let make = format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replication}}} AND durable_writes = false"
        );
        session.query_unpaged(make, ()).await.unwrap();
        let tables =
            format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'");
        let tables = session.query_unpaged(tables, ()).await.unwrap().into_rows_result().unwrap();
        let tables: Vec<(String,)> = tables.rows().unwrap().map(Result::unwrap).collect();
        let tables = tables.iter().filter(|(table,)| table != "schema_version" && used(table));
        let truncate = |table| session.query_unpaged(format!("TRUNCATE {keyspace}.{table}"), ());
        for truncated in join_all(tables.map(|(table,)| truncate(table))).await {
            truncated.unwrap();
        }
        let keys = ["tasks", "pages", "news", "reads", "wishes"].map(|key| format!("{keyspace}:{key}"));
        self.redis("DEL", &keys.each_ref().map(String::as_str)).await;
    }

    /// A session of the test's own.
    pub(crate) async fn session(&self) -> Session {
        SessionBuilder::new().known_nodes(&self.config.nodes).build().await.unwrap()
    }

    /// Runs a command.
    pub(crate) async fn redis(&self, command: &str, values: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.config.redis.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(command).arg(values).query_async(&mut connection).await.unwrap()
    }
}

impl Servers {
    /// What a command answers, as people read it.
    pub(crate) async fn redis_text(&self, command: &str, values: &[&str]) -> String {
        format!("{:?}", self.redis(command, values).await)
    }
}

/// What tells one layout of the tables from another, and one target directory.
fn build() -> u64 {
    let mut hasher = DefaultHasher::new();
    std::env::current_exe().unwrap().parent().hash(&mut hasher);
    schema_statements("", 1, Dialect::Cassandra).hash(&mut hasher);
    hasher.finish()
}
