//! Where the oracle is: a folder that is named, or a copy of the shared one, installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::run::{Group, root};

/// How long packages may take to be fetched and built.
const SETUP: Duration = Duration::from_secs(1_200);

/// The oracle's folder, installed: this one, or a copy of the shared one.
pub(crate) fn folder(named: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(dir) = named {
        let dir = dir.canonicalize().with_context(|| format!("no oracle in {}", dir.display()))?;
        if !dir.join("node_modules/.oracle-setup").is_file() {
            setup(&dir)?;
        }
        return Ok(Some(dir));
    }
    let shared = std::env::var_os("SKYWEIR_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let from = shared.join("oracle");
    if !from.join("network.mjs").is_file() {
        return Ok(None);
    }
    let to = root().join("target/oracle");
    copy(&from, &to).with_context(|| format!("cannot copy the oracle to {}", to.display()))?;
    setup(&to)?;
    Ok(Some(to))
}

fn setup(dir: &Path) -> Result<()> {
    println!("oracle: setting up {}", dir.display());
    let setup = Command::new(dir.join("setup.sh"));
    let status = Group::spawn(&setup, Stdio::inherit(), Stdio::inherit())?.wait(SETUP)?;
    ensure!(status.success(), "the oracle's setup.sh failed ({status})");
    Ok(())
}

/// Copies a folder, but for what is installed or left by a run.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if name == "node_modules" || name == ".run" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            // the original may be read-only, and so was its last copy
            let _ = fs::remove_file(&target);
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_leaves_out_what_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(from.join("node_modules")).unwrap();
        fs::create_dir_all(from.join("lib")).unwrap();
        fs::write(from.join("lib/x.mjs"), "x").unwrap();
        for _ in 0..2 {
            copy(&from, &to).unwrap();
        }
        assert!(to.join("lib/x.mjs").is_file() && !to.join("node_modules").exists());
    }
}
