//! The server that tests speak to, and a keyspace of their own at it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use scylla::client::session_builder::SessionBuilder;
use skyweir_scylla::{Config, Dialect, schema_statements};

/// Names the nodes: `HOST:PORT`, with commas between several.
const SERVER: &str = "SKYWEIR_TEST_CQL";

/// Whether there is no server, said once for each test.
///
/// # Panics
/// With `SKYWEIR_REQUIRE_ALL=1`, where there has to be one.
pub(crate) fn is_missing() -> bool {
    let missing = std::env::var_os(SERVER).is_none();
    if missing {
        assert!(std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() != Ok("1"), "{SERVER} names no server");
        eprintln!(
            "skipped: {SERVER} names no server; `cargo xtask cql up` starts one and prints the variable"
        );
    }
    missing
}

/// The server, with a keyspace for tests of this name: a copy of each row at each of up to three nodes. Another layout
/// of the tables gets another keyspace.
pub(crate) fn config(name: &str) -> Config {
    let nodes = std::env::var(SERVER).unwrap();
    let nodes: Vec<_> = nodes.split(',').map(str::to_owned).collect();
    let replication = nodes.len().min(3) as u8;
    let mut layout = DefaultHasher::new();
    schema_statements("", replication, Dialect::Cassandra).hash(&mut layout);
    Config {
        nodes,
        keyspace: format!("skyweir_test_{name}_{:08x}", layout.finish() as u32),
        replication,
        // the machine may be busy
        request_timeout_ms: 20_000,
        speculate_ms: 10_000,
        ..Config::default()
    }
}

/// Runs a statement of the test's own; `{ks}` stands for the keyspace.
pub(crate) async fn run(config: &Config, text: &str) {
    let session = SessionBuilder::new().known_nodes(&config.nodes).build().await.unwrap();
    session.query_unpaged(text.replace("{ks}", &config.keyspace), ()).await.unwrap();
}

/// Empties the tables that the keyspace has, if any, but for the version.
pub(crate) async fn empty(config: &Config) {
    let session = SessionBuilder::new().known_nodes(&config.nodes).build().await.unwrap();
    let text = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let tables = session.query_unpaged(text, (&config.keyspace,)).await.unwrap().into_rows_result().unwrap();
    for table in tables.rows::<(String,)>().unwrap() {
        let (table,) = table.unwrap();
        if table != "schema_version" {
            session.query_unpaged(format!("TRUNCATE {}.{table}", config.keyspace), ()).await.unwrap();
        }
    }
}
