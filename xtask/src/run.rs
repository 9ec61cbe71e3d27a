//! What all commands share: the workspace, time, child processes, a small HTTP client, tables.

mod ask;
mod binary;
mod daemon;
mod group;
mod home;
mod http;
mod rng;
mod serve;
mod table;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

#[cfg(test)]
pub(crate) use ask::against;
pub(crate) use ask::ask;
pub(crate) use binary::Binary;
pub(crate) use daemon::{Daemon, State};
pub(crate) use group::{Group, output};
pub(crate) use home::{hold, read};
pub(crate) use http::{get, metric};
pub(crate) use rng::Rng;
pub(crate) use serve::{Serve, ServeSpec};
pub(crate) use table::Table;

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the workspace's root").to_path_buf()
}

/// A missing tool or folder: said and passed over, but an error where everything is required.
pub(crate) fn skip(why: &str) -> anyhow::Result<()> {
    anyhow::ensure!(!require_all(), "{why} (SKYWEIR_REQUIRE_ALL=1: nothing may be skipped)");
    println!("skipped: {why}");
    Ok(())
}

/// Whether a skipped check is an error.
pub(crate) fn require_all() -> bool {
    std::env::var("SKYWEIR_REQUIRE_ALL").is_ok_and(|value| value == "1")
}

/// The wall clock: these commands measure real processes.
#[expect(clippy::disallowed_methods, reason = "real processes run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Looks again and again whether it is `done`, and says on standard error what it waits for; an error after `patience`.
pub(crate) fn wait_for(
    what: &str,
    patience: Duration,
    mut done: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = now();
    let mut told = 0;
    while !done()? {
        let waited = began.elapsed();
        anyhow::ensure!(waited < patience, "waited {} s for {what}", patience.as_secs());
        if waited.as_secs() / 10 > told {
            told = waited.as_secs() / 10;
            eprintln!("waiting for {what}: {} s", waited.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Whether nobody listens there.
pub(crate) fn is_free(addr: SocketAddr) -> bool {
    TcpListener::bind(addr).is_ok()
}

/// A port that is free on loopback, with those that are that much above it. Below those that systems give out by
/// themselves, so that no connection takes it meanwhile.
pub(crate) fn free_port(above: &[u16]) -> anyhow::Result<u16> {
    let mut rng = Rng::new(fresh_seed());
    let free = |port: &u16| above.iter().all(|more| is_free(SocketAddr::from(([127, 0, 0, 1], port + more))));
    (0..100)
        .map(|_| 20_000 + u16::try_from(rng.below(10_000)).unwrap_or(0))
        .find(free)
        .context("found no free port from 20000 to 30000 on 127.0.0.1")
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// A seed that differs from run to run; it is printed, so that a failure can be repeated.
#[expect(clippy::disallowed_methods, reason = "the one place where a run gets its luck")]
pub(crate) fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| u64::from(now.subsec_nanos()) ^ now.as_secs() << 20) % 1_000_000_007
}
