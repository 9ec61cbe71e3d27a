//! A CQL server and a Redis that the environment names, and settings for a service on them.

use std::path::Path;

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

/// The servers, and a keyspace of the test's own.
#[derive(Clone)]
pub(crate) struct Cql {
    nodes: Vec<String>,
    redis: String,
    keyspace: String,
}

impl Cql {
    /// `None`, and a word about it, when there are none. Of what a former test has left nothing is there any more.
    #[allow(clippy::print_stdout, reason = "a test says what it leaves out")]
    pub(crate) async fn find(name: &str) -> Option<Self> {
        let (Ok(cql), Ok(redis)) = (std::env::var("SKYWEIR_TEST_CQL"), std::env::var("SKYWEIR_TEST_REDIS"))
        else {
            assert!(
                std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() != Ok("1"),
                "SKYWEIR_TEST_CQL and SKYWEIR_TEST_REDIS name no servers"
            );
            println!("skipped: SKYWEIR_TEST_CQL and SKYWEIR_TEST_REDIS name no servers");
            return None;
        };
        let nodes = cql.split(',').map(str::to_owned).collect();
        let found = Self { nodes, redis, keyspace: format!("skyweir_binary_{name}") };
        found.query(&format!("DROP KEYSPACE IF EXISTS {}", found.keyspace)).await;
        found.forget_tasks().await;
        Some(found)
    }

    /// What the settings say of it; `more` belongs to `[scylla]`.
    pub(crate) fn settings(&self, more: &str) -> String {
        let Self { nodes, redis, keyspace } = self;
        let replication = nodes.len().min(3);
        format!(
            "backend = \"scylla\"\n[scylla]\nnodes = {nodes:?}\nredis = \"{redis}\"\nkeyspace = \"{keyspace}\"\n\
             replication = {replication}\nrequest_timeout_ms = 20000\n{more}\n"
        )
    }

    /// The same servers, but CQL is asked at this address.
    pub(crate) fn through(&self, address: &str) -> Self {
        Self { nodes: vec![address.to_owned()], ..self.clone() }
    }

    /// The same servers, but Redis is asked at this address.
    pub(crate) fn through_redis(&self, address: &str) -> Self {
        Self { redis: format!("redis://{address}"), ..self.clone() }
    }

    /// Where Redis is.
    pub(crate) fn redis(&self) -> &str {
        self.redis.strip_prefix("redis://").unwrap().trim_end_matches('/')
    }

    /// Where CQL is asked first.
    pub(crate) fn node(&self) -> &str {
        &self.nodes[0]
    }

    /// Writes those to a file.
    pub(crate) fn write_settings(&self, file: &Path, more: &str) {
        std::fs::write(file, self.settings(more)).unwrap();
    }

    /// Runs a statement, in which `{ks}` stands for the keyspace.
    pub(crate) async fn query(&self, statement: &str) {
        let statement = statement.replace("{ks}", &self.keyspace);
        self.session().await.query_unpaged(statement, ()).await.unwrap();
    }

    /// The number that a statement asks for.
    pub(crate) async fn number(&self, statement: &str) -> i64 {
        let statement = statement.replace("{ks}", &self.keyspace);
        let rows =
            self.session().await.query_unpaged(statement, ()).await.unwrap().into_rows_result().unwrap();
        rows.single_row::<(i64,)>().unwrap().0
    }

    /// How many transactions are committed; none before there is a keyspace.
    pub(crate) async fn committed(&self) -> i64 {
        let statement = format!("SELECT seq FROM {}.lease WHERE id = 0", self.keyspace);
        let Ok(rows) = self.session().await.query_unpaged(statement, ()).await else { return 0 };
        let row = rows.into_rows_result().unwrap().maybe_first_row::<(i64,)>().unwrap();
        row.map_or(0, |(seq,)| seq)
    }

    /// The same as [`Cql::settings`], for who opens it in this process.
    pub(crate) fn config(&self) -> skyweir_scylla::Config {
        let Self { nodes, redis, keyspace } = self.clone();
        skyweir_scylla::Config {
            replication: nodes.len().min(3) as u8,
            nodes,
            redis,
            keyspace,
            request_timeout_ms: 20_000,
            ..skyweir_scylla::Config::default()
        }
    }

    /// Takes the whole task log away.
    pub(crate) async fn forget_tasks(&self) {
        let keys =
            ["tasks", "pages", "news", "reads", "wishes"].map(|key| format!("{}:{key}", self.keyspace));
        self.ask_redis(redis::cmd("DEL").arg(&keys)).await;
    }

    /// Puts there what can't be ours.
    pub(crate) async fn spoil(&self, key: &str) {
        self.ask_redis(redis::cmd("SET").arg(format!("{}:{key}", self.keyspace)).arg("spoilt")).await;
    }

    /// Appends a task that is none.
    pub(crate) async fn append_nonsense(&self) {
        let key = format!("{}:tasks", self.keyspace);
        self.ask_redis(redis::cmd("XADD").arg(key).arg("0-*").arg("task").arg("nonsense")).await;
    }

    async fn ask_redis(&self, command: &redis::Cmd) {
        let client = redis::Client::open(self.redis.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        command.exec_async(&mut connection).await.unwrap();
    }

    async fn session(&self) -> Session {
        SessionBuilder::new().known_nodes(&self.nodes).build().await.unwrap()
    }
}
