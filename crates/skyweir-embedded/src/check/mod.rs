//! Verifies what a data directory promises, table against table.

mod report;
mod tables;

use std::path::Path;

use skyweir_store::Result;

use crate::bulk::refuse_unfinished;
use crate::config::Config;
use crate::db::{Db, must_exist};
use crate::lock::DirLock;
use crate::rings::checkpoint;
use crate::table::meta::Manifest;

pub use report::{Finding, Holdings, Report};

/// Verifies a data directory that no process has open. Reads everything; changes nothing but journals that a crash
/// left to be read.
///
/// # Errors
/// `Unavailable` when the directory is none of ours, in use, or the disk refuses; `Corrupt` when a table can't be
/// read at all. What merely contradicts itself is in the report.
pub fn check(dir: &Path) -> Result<Report> {
    must_exist(dir)?;
    let _lock = DirLock::take(dir)?;
    refuse_unfinished(dir)?;
    let db = Db::open(&Config { data_dir: dir.to_owned(), ..Config::default() })?;
    let moment = db.snapshot();
    let mut report = Report::default();
    tables::check(&moment, &mut report)?;
    let mut files = Finding::new("checkpoint files are whole");
    let manifest = checkpoint::manifest(&moment)?;
    for (slice, path) in manifest.iter().flat_map(|manifest: &Manifest| checkpoint::files(dir, manifest)) {
        let rings = checkpoint::verify(&path, slice);
        report.holdings.rings += *rings.as_ref().unwrap_or(&0) as u64;
        report.holdings.bytes += path.metadata().map_or(0, |meta| meta.len());
        files.expect(rings.is_ok(), || rings.err().map(|e| e.to_string()).unwrap_or_default());
    }
    report.findings.push(files);
    report.holdings.bytes += db.disk_space()?;
    Ok(report)
}
