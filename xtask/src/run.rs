//! What all commands share: the workspace, time, child processes, a small HTTP client, tables.

mod group;
mod http;
mod rng;
mod serve;
mod table;

use std::path::PathBuf;
use std::time::Instant;

pub(crate) use group::Group;
pub(crate) use http::{get, metric};
pub(crate) use rng::Rng;
pub(crate) use serve::{Serve, ServeSpec};
pub(crate) use table::Table;

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the workspace's root").to_path_buf()
}

/// The release binary that `torture` and `oracle` drive; `SKYWEIR_BINARY` names another one.
pub(crate) fn binary() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("SKYWEIR_BINARY")
        .map_or_else(|| root().join("target/release/skyweir"), PathBuf::from);
    anyhow::ensure!(
        path.is_file(),
        "{} is missing; build it with: cargo build --release -p skyweir",
        path.display()
    );
    Ok(path)
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

/// A seed that differs from run to run; it is printed, so that a failure can be repeated.
#[expect(clippy::disallowed_methods, reason = "the one place where a run gets its luck")]
pub(crate) fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| u64::from(now.subsec_nanos()) ^ now.as_secs() << 20) % 1_000_000_007
}
