//! The way to the CQL server: one session, what its statements have in common, and how much runs at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::pager::QueryPager;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{PoolSize, SelfIdentity};
use scylla::deserialize::row::DeserializeRow;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use skyweir_store::{Error, Result};

use crate::config::Config;
use crate::dialect::Dialect;
use crate::{access, error};

/// Tables are made slowly, and the driver waits until all nodes know them.
const DEFINE_TIMEOUT: Duration = Duration::from_secs(60);
/// A node that hangs is left after six seconds; where a request may take longer than five, the answer to this is waited
/// for by four fifths of that. Shorter, a busy one is taken for dead.
const KEEPALIVE: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Reads: also sent to a second node when the first is slow.
    Read,
    /// Writes that may be sent again: their timestamps are their own.
    Write,
    /// A condition and a write: never sent again by the driver, as the second answer would be another.
    Conditional,
}

/// A session with the server that holds the keyspace.
pub(crate) struct Db {
    session: Session,
    dialect: Dialect,
    keyspace: String,
    in_flight: usize,
    names: AtomicU64,
    read: ExecutionProfileHandle,
    write: ExecutionProfileHandle,
    define: ExecutionProfileHandle,
}

/// What is said where no session comes in time.
fn silent(config: &Config) -> Error {
    Error::Unavailable(format!(
        "no session with the CQL nodes {} in {} s: if one of them accepts connections and answers nothing, leave it out \
         of scylla.nodes",
        config.nodes.join(", "),
        DEFINE_TIMEOUT.as_secs()
    ))
}

impl Db {
    /// Connects, and finds out which server it is. The keyspace needn't be there yet.
    pub(crate) async fn connect(config: &Config) -> Result<Self> {
        let wrong = |what| Error::Unavailable(format!("scylla.keyspace is {:?}: {what}", config.keyspace));
        check_keyspace(&config.keyspace).map_err(wrong)?;
        let timeout = Duration::from_millis(config.request_timeout_ms);
        let write = ExecutionProfile::builder()
            .request_timeout(Some(timeout))
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::LocalSerial))
            .build();
        let speculation = SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: Duration::from_millis(config.speculate_ms),
        };
        let read = write.to_builder().speculative_execution_policy(Some(Arc::new(speculation))).build();
        let define = write.to_builder().request_timeout(Some(DEFINE_TIMEOUT)).build();
        let connections = config.connections.try_into().unwrap_or(std::num::NonZeroUsize::MIN);
        let write = write.into_handle();
        let mut builder = SessionBuilder::new()
            .known_nodes(&config.nodes)
            .default_execution_profile_handle(write.clone())
            .connection_timeout(timeout)
            .keepalive_interval(KEEPALIVE)
            .keepalive_timeout(KEEPALIVE_TIMEOUT.max(timeout * 4 / 5))
            .pool_size(PoolSize::PerShard(connections))
            .custom_identity(SelfIdentity::new().with_application_name("skyweir"))
            .fetch_full_schema_metadata(false);
        if !config.datacenter.is_empty() {
            builder = builder.prefer_datacenter(config.datacenter.clone());
        }
        let builder = access::enter(builder, config).await?;
        // the driver waits for a node that accepts, and then is silent, without an end over TLS
        let built = tokio::time::timeout(DEFINE_TIMEOUT, builder.build()).await;
        let session = built.map_err(|_| silent(config))?.map_err(|e| error::session(config, &e))?;
        let nodes = session.get_cluster_state();
        let there = nodes.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref());
        check_datacenter(&config.datacenter, &there.collect())?;
        let mut db = Self {
            session,
            dialect: Dialect::Cassandra,
            keyspace: config.keyspace.clone(),
            in_flight: config.in_flight.max(1),
            names: AtomicU64::new(0),
            read: read.into_handle(),
            write,
            define: define.into_handle(),
        };
        if db.ask(Dialect::PROBE).await?.rows_num() > 0 {
            db.dialect = Dialect::Scylla;
        }
        Ok(db)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// The driver itself, for what is its own affair: topology, batches.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// A name that nobody else has: not in another process, and not twice in this one.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.session.session_id(), self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// How requests run that are also sent to a second node when the first is slow, for what is neither read nor a
    /// statement alone.
    pub(crate) fn speculating(&self) -> &ExecutionProfileHandle {
        &self.read
    }

    /// Prepares a statement; `{ks}` in it stands for the keyspace.
    pub(crate) async fn prepare(&self, what: Use, text: &str) -> Result<PreparedStatement> {
        let text = text.replace("{ks}", &self.keyspace);
        let prepared = self.session.prepare(text.as_str()).await;
        let mut prepared = prepared.map_err(|e| error::prepare(&text, &e))?;
        let profile = if what == Use::Read { &self.read } else { &self.write };
        prepared.set_execution_profile_handle(Some(profile.clone()));
        prepared.set_is_idempotent(what != Use::Conditional);
        Ok(prepared)
    }

    /// Runs a statement that answers with rows, all of them at once: those that ask for a bounded number.
    pub(crate) async fn rows(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult> {
        let answer = self.session.execute_unpaged(statement, values).await;
        let answer = answer.map_err(|e| error::execution(name(statement), &e))?;
        answer.into_rows_result().map_err(|e| error::unreadable(name(statement), e))
    }

    /// The rows as what they are.
    pub(crate) async fn all<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<T>>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let rows = self.rows(statement, values).await?;
        let rows = rows.rows::<T>().map_err(|e| error::unreadable(name(statement), e))?;
        rows.collect::<std::result::Result<_, _>>().map_err(|e| error::unreadable(name(statement), e))
    }

    /// The first row, if there is one.
    pub(crate) async fn first<T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Option<T>>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let rows = self.rows(statement, values).await?;
        rows.maybe_first_row().map_err(|e| error::unreadable(name(statement), e))
    }

    /// All rows of a statement that goes over a whole table.
    pub(crate) async fn scan<T>(&self, statement: &PreparedStatement) -> Result<Vec<T>>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let table = name(statement);
        let pager = self.session.execute_iter(statement.clone(), ()).await;
        collect(table, pager.map_err(|e| error::paging(table, e))?).await
    }

    /// All rows of a statement that is run seldom, of a table of the server.
    pub(crate) async fn scan_once<T>(
        &self,
        table: &str,
        text: &str,
        values: impl SerializeRow,
    ) -> Result<Vec<T>>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let mut statement = Statement::new(text);
        statement.set_execution_profile_handle(Some(self.read.clone()));
        statement.set_is_idempotent(true);
        let pager = self.session.query_iter(statement, values).await;
        collect(table, pager.map_err(|e| error::paging(table, e))?).await
    }

    /// Runs a statement that answers with nothing.
    pub(crate) async fn write(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<()> {
        let done = self.session.execute_unpaged(statement, values).await;
        done.map(|_| ()).map_err(|e| error::execution(name(statement), &e))
    }

    /// Asks the questions of these numbers, from 0 up, side by side, as many at a time as the config allows; answers
    /// stand in the order of the questions. The first error ends it.
    pub(crate) async fn each<A, F>(&self, n: usize, ask: impl FnMut(usize) -> F) -> Result<Vec<A>>
    where
        F: Future<Output = Result<A>>,
    {
        stream::iter((0..n).map(ask)).buffered(self.in_flight).try_collect().await
    }

    /// Runs a statement that is run once: of the schema.
    pub(crate) async fn ask(&self, text: &str) -> Result<QueryRowsResult> {
        let mut statement = Statement::new(text);
        statement.set_execution_profile_handle(Some(self.define.clone()));
        statement.set_is_idempotent(true);
        let answer = self.session.query_unpaged(statement, ()).await;
        let answer = answer.map_err(|e| error::execution("schema", &e))?;
        answer.into_rows_result().map_err(|e| error::unreadable("schema", e))
    }

    /// Runs a statement that changes the schema.
    pub(crate) async fn define(&self, text: &str) -> Result<()> {
        let mut statement = Statement::new(text);
        statement.set_execution_profile_handle(Some(self.define.clone()));
        let done = self.session.query_unpaged(statement, ()).await;
        done.map(|_| ()).map_err(|e| error::execution("schema", &e))
    }
}

async fn collect<T>(table: &str, pager: QueryPager) -> Result<Vec<T>>
where
    T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
{
    let rows = pager.rows_stream::<T>().map_err(|e| error::unreadable(table, e))?;
    rows.map_err(|e| error::next_row(table, e)).try_collect().await
}

/// The table that a statement is about.
fn name(statement: &PreparedStatement) -> &str {
    statement.get_table_name().unwrap_or("of a statement")
}

/// Whether a keyspace may have this name: names go into statements as they are.
///
/// # Errors
/// What is expected instead.
pub fn check_keyspace(keyspace: &str) -> std::result::Result<(), &'static str> {
    let plain =
        keyspace.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if plain && (1..=48).contains(&keyspace.len()) && !keyspace.starts_with(|c: char| !c.is_ascii_lowercase())
    {
        return Ok(());
    }
    Err("expected 1 to 48 lower-case letters, digits and underscores, a letter first")
}

/// Conditions are decided within the datacenter of whoever is asked: asked in two, two indexers would both be right.
fn check_datacenter(named: &str, there: &BTreeSet<&str>) -> Result<()> {
    if there.contains(named) || named.is_empty() && there.len() <= 1 {
        return Ok(());
    }
    let names = there.iter().copied().collect::<Vec<_>>().join(", ");
    Err(Error::Unavailable(format!(
        "scylla.datacenter is {named:?}, and the cluster's datacenters are: {names}; name the same one of them for all \
         indexers of this keyspace"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_datacenters_has_to_be_named() {
        for (named, there, is_right) in [
            ("", &["dc1"][..], true),
            ("dc1", &["dc1"], true),
            ("dc2", &["dc1", "dc2"], true),
            // servers that don't say
            ("", &[], true),
            ("", &["dc1", "dc2"], false),
            ("dc3", &["dc1", "dc2"], false),
            ("dc2", &["dc1"], false),
        ] {
            let checked = check_datacenter(named, &there.iter().copied().collect());
            assert_eq!(checked.is_ok(), is_right, "{named:?} of {there:?}");
        }
        let refused = check_datacenter("", &["b", "a"].into()).unwrap_err().to_string();
        assert!(refused.contains("scylla.datacenter is \"\"") && refused.contains("are: a, b;"), "{refused}");
    }

    #[test]
    fn names_that_need_no_quotes_pass() {
        for good in ["skyweir", "s", "a_1", &"x".repeat(48)] {
            assert!(check_keyspace(good).is_ok(), "{good}");
        }
        for bad in ["", "_a", "1a", "A", "a-b", "a b", "a;", "ä", &"x".repeat(49)] {
            assert!(check_keyspace(bad).is_err(), "{bad}");
        }
    }
}
