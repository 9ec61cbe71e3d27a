//! `skyweir check` and `skyweir rings drop`: commands on a data directory that no service uses.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use skyweir_embedded::Rings;

/// Prints what a data directory holds and which invariants hold; exits 1 when one is violated.
pub(crate) fn check(data_dir: &Path) -> Result<ExitCode> {
    let report = skyweir_embedded::check(data_dir)?;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Drops all rings.
pub(crate) fn drop_rings(data_dir: &Path) -> Result<ExitCode> {
    Rings::drop_all(data_dir)?;
    let dir = data_dir.display();
    writeln!(
        std::io::stdout(),
        "dropped the rings of {dir}; nothing is lost, they fill again as they are read"
    )?;
    Ok(ExitCode::SUCCESS)
}
