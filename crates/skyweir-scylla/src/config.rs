//! What can be set, with its limits and defaults.

use std::path::PathBuf;

use serde::Deserialize;

use crate::password::Password;
use crate::timelines::RowsConfig;

/// Settings of the store: `[scylla]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Nodes to ask first for the others, each `HOST:PORT`. Default `127.0.0.1:9042`.
    pub nodes: Vec<String>,
    /// The role that logs in at the nodes, 1 to 1,024 bytes. Default none, for nodes that let everybody in.
    pub user: Option<String>,
    /// The role's password, 1 to 1,024 bytes. Default none.
    pub password: Option<Password>,
    /// A file with the password and nothing else but a line break behind it, instead of `password`, so that this one
    /// may be shown. Read when the nodes are first spoken to. Default none.
    pub password_file: Option<PathBuf>,
    /// A file with the certificates of those who sign the nodes' ones, in PEM, at most 1 MiB. With it nodes are spoken
    /// to over TLS, without it as they are. Default none.
    pub tls_ca: Option<PathBuf>,
    /// Whether a node's certificate has to bear the IP address at which it is reached; nodes that others have named are
    /// known by nothing else. Default true; false where who is in `tls_ca` signs for these nodes alone.
    pub tls_verify_address: bool,
    /// A file with the certificate to show to nodes that ask for one, and those up to who signed it, in PEM, at most
    /// 1 MiB. Default none.
    pub tls_certificate: Option<PathBuf>,
    /// A file with the key of `tls_certificate`, in PEM and not encrypted, at most 1 MiB. Default none.
    pub tls_key: Option<PathBuf>,
    /// The keyspace that holds one store, and the first part of the names of its keys in Redis: 1 to 48 lower-case
    /// letters, digits and underscores, a letter first. Default `skyweir`.
    pub keyspace: String,
    /// How many copies of each row a datacenter keeps, when the keyspace is made here, 1 to 10; a keyspace that is
    /// there stays as it is. Default 3.
    pub replication: u8,
    /// The datacenter whose nodes are asked; the others only get its writes. It alone decides who may write, so all
    /// indexers name the same one. May be empty where the cluster has only one. Default empty.
    pub datacenter: String,
    /// Whether the keyspace and its tables are made when they aren't there. Default true; where programs may not change
    /// the schema, somebody applies what `skyweir schema` prints.
    pub create: bool,
    /// The Redis server with the task log, and what processes tell each other of timelines. Default `redis://127.0.0.1:6379`.
    pub redis: String,
    /// After how many milliseconds without a sign of life of the writer that has a task another one takes it, 1,000 to
    /// 600,000. Default 20,000.
    pub claim_ms: u64,
    /// How many tasks the log may hold that no writer has done, 1,000 to 1,000,000,000: as long as there are more,
    /// events wait. Default 1,000,000, some 100 MB in Redis.
    pub tasks_most: u64,
    /// The name under which the indexer holds its lease. Who comes with the same name takes it over at once, with
    /// another name only when it is over. Give each machine its own; the default is `skyweir`.
    pub holder: String,
    /// How long a lease lasts that isn't renewed, milliseconds, 1,000 to 600,000: another machine's indexer waits for
    /// that long. Default 10,000.
    pub lease_ms: u64,
    /// How long a row is kept that was replaced or removed, seconds, 30 to 86,400, and at least twice
    /// `lease_ms`. A view that is older than this is refused. Default 600.
    pub superseded_ttl_s: u32,
    /// How many followers a partition holds, 100 to 1,000,000; what comes after that goes to a new one. May be changed
    /// at any time. Default 50,000.
    pub followers_bucket: u32,
    /// How many accounts transactions remember the number of, and of how many what changes about them; some 300 bytes
    /// for both. 0 to 4,294,967,296; with 0 each event asks the server. Default 131,072.
    pub remembered_accounts: usize,
    /// How long one request may take, milliseconds, 100 to 60,000. Default 5,000. A node that answers nothing for six
    /// seconds, or two and four fifths of this, is left.
    pub request_timeout_ms: u64,
    /// After how many milliseconds a read is also sent to another node, 1 to 60,000; so are trims and publications of
    /// timelines, and batches that were sent again. Default 100.
    pub speculate_ms: u64,
    /// How many requests one call has under way at a time, 1 to 4,096. Default 64.
    pub in_flight: usize,
    /// Connections to each shard of ScyllaDB, and to each node of Cassandra, 1 to 64. Default 2.
    pub connections: usize,
    /// How many wishes of reads (to enrol a timeline, to lower its rate) wait in Redis for a writer, and in a process
    /// that reads to be brought there, 1 to 1,000,000. What there is no room for is dropped: the next read has it again.
    /// Default 10,000.
    pub wishes_most: usize,
    /// The timelines' rows.
    pub timelines: RowsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nodes: vec!["127.0.0.1:9042".into()],
            user: None,
            password: None,
            password_file: None,
            tls_ca: None,
            tls_verify_address: true,
            tls_certificate: None,
            tls_key: None,
            keyspace: "skyweir".into(),
            replication: 3,
            datacenter: String::new(),
            create: true,
            redis: "redis://127.0.0.1:6379".into(),
            claim_ms: 20_000,
            tasks_most: 1_000_000,
            holder: "skyweir".into(),
            lease_ms: 10_000,
            superseded_ttl_s: 600,
            followers_bucket: 50_000,
            remembered_accounts: 131_072,
            request_timeout_ms: 5_000,
            speculate_ms: 100,
            in_flight: 64,
            connections: 2,
            wishes_most: 10_000,
            timelines: RowsConfig::default(),
        }
    }
}
