//! The servers that tests of the store on CQL talk to: brought up, killed once to see that they come back, removed.

use std::path::PathBuf;

use anyhow::Result;

use crate::cql::{self, Cluster, EngineName, Wish};
use crate::redis::{self, Redis};
use crate::run::{free_port, root, skip};

/// Those that run, by the variables in which tests look; stopped and removed when dropped.
#[derive(Default)]
pub(crate) struct Servers {
    cql: Option<Cluster>,
    redis: Option<Redis>,
}

impl Servers {
    /// Brings up a CQL server of so many nodes and a Redis, but for one that the environment names already, and one for
    /// which a program isn't installed.
    pub(crate) fn up(nodes: u8, bench: bool) -> Result<Self> {
        let cql = if wanted(cql::VARIABLE) { cassandra(nodes, bench)? } else { None };
        let redis = if wanted(redis::VARIABLE) { redis()? } else { None };
        Ok(Self { cql, redis })
    }

    /// Brings up a Redis alone, as [`Servers::up`] does.
    pub(crate) fn redis() -> Result<Self> {
        let redis = if wanted(redis::VARIABLE) { redis()? } else { None };
        Ok(Self { cql: None, redis })
    }

    /// Only a CQL server of one node.
    pub(crate) fn cql() -> Result<Self> {
        let cql = if wanted(cql::VARIABLE) { cassandra(1, false)? } else { None };
        Ok(Self { cql, redis: None })
    }

    /// Where the nodes of the CQL server are, brought up here or named.
    pub(crate) fn nodes(&self) -> Option<Vec<String>> {
        let addrs = self.cql.as_ref().map(Cluster::addrs).or_else(|| std::env::var(cql::VARIABLE).ok())?;
        Some(addrs.split(',').map(str::to_owned).collect())
    }

    /// Whether both are there, brought up here or named.
    pub(crate) fn are_there(&self) -> bool {
        (self.cql.is_some() || is_named(cql::VARIABLE)) && self.has_redis()
    }

    /// Whether there is a Redis, brought up here or named.
    pub(crate) fn has_redis(&self) -> bool {
        self.redis.is_some() || is_named(redis::VARIABLE)
    }

    /// Whether the CQL server is one that was brought up here.
    pub(crate) fn has_nodes(&self) -> bool {
        self.cql.is_some()
    }

    /// Lets tests take nodes away and bring them back by `cargo xtask cql`; what they are told for that.
    pub(crate) fn lend(&mut self) -> Result<Vec<(&'static str, String)>> {
        let Some(cql) = &mut self.cql else { return Ok(Vec::new()) };
        cql.let_go();
        let program = std::env::current_exe()?.display().to_string();
        Ok(vec![(cql::NODES, program), (cql::HOME, cql.home().display().to_string())])
    }

    /// Kills both and starts them again: they have to answer as before.
    pub(crate) fn come_back(&self) -> Result<()> {
        if let Some(cql) = &self.cql {
            cql.kill(1)?;
            cql.start(1)?;
        }
        if let Some(redis) = &self.redis {
            redis.kill()?;
            redis.start()?;
        }
        Ok(())
    }

    /// What tests are told.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let cql = self.cql.as_ref().map(|cql| (cql::VARIABLE, cql.addrs()));
        let redis = self.redis.as_ref().map(|redis| (redis::VARIABLE, redis.url()));
        cql.into_iter().chain(redis).collect()
    }

    /// Stops and removes both.
    pub(crate) fn down(&mut self) -> Result<()> {
        let cql = self.cql.take().map_or(Ok(()), |cql| cql.down(true));
        let redis = self.redis.take().map_or(Ok(()), |redis| redis.down(true));
        cql.and(redis)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("error: {error:#}");
        }
    }
}

/// Cassandra: it runs on any Linux machine, and so judges the same everywhere.
fn cassandra(nodes: u8, bench: bool) -> Result<Option<Cluster>> {
    let home = home("cql");
    if let Some(why) = cql::missing(&home) {
        skip(&format!("no CQL server: {why}"))?;
        return Ok(None);
    }
    if let Some(former) = Cluster::find(&home)? {
        former.down(true)?;
    }
    let wish = Wish {
        nodes: Some(nodes),
        port: Some(free_port(&[0, 1000])?),
        engine: Some(EngineName::Cassandra),
        bench,
    };
    Cluster::up(&home, &wish, true).map(Some)
}

/// A Redis with nothing in it.
fn redis() -> Result<Option<Redis>> {
    let home = home("redis");
    if let Some(why) = redis::missing() {
        skip(&format!("no Redis: {why}"))?;
        return Ok(None);
    }
    if let Some(former) = Redis::find(&home)? {
        former.down(true)?;
    }
    Redis::up(&home, Some(free_port(&[0])?), true).map(Some)
}

/// Where this workspace's servers are; the jars stay there for the next time.
fn home(name: &str) -> PathBuf {
    root().join("target/servers").join(name)
}

/// Whether the environment names a server.
fn is_named(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

/// Whether a server has to be brought up, as the environment names none.
fn wanted(variable: &str) -> bool {
    match std::env::var(variable) {
        Ok(named) => {
            println!("{variable}={named}, as the environment has it");
            false
        }
        Err(_) => true,
    }
}
