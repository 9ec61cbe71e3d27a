//! The program that a command drives.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::root;

/// Which one.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Binary {
    /// The program `skyweir`, with `loadtest` beside it; that of the release build if not given.
    #[arg(long, env = "SKYWEIR_BINARY", value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Binary {
    /// The one that tests drive, which lies beside this program.
    pub(crate) fn of_tests() -> Result<Self> {
        Ok(Self { binary: Some(std::env::current_exe()?.with_file_name("skyweir")) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let path = self.binary.clone().unwrap_or_else(|| root().join("target/release/skyweir"));
        ensure!(
            path.is_file(),
            "{} is missing; build it with: cargo build --release -p skyweir -p skyweir-loadtest, or name another one \
             by --binary",
            path.display()
        );
        Ok(path)
    }

    /// The load harness beside it.
    pub(crate) fn loadtest(&self) -> Result<PathBuf> {
        let path = self.path()?.with_file_name("loadtest");
        ensure!(
            path.is_file(),
            "{} is missing; build it beside the program, for a release with: cargo build --release -p skyweir-loadtest",
            path.display()
        );
        Ok(path)
    }
}
