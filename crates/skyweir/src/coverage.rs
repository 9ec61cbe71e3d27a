//! How much of the follow graph a data directory can know: there is no backfill.

use std::path::Path;

use anyhow::{Context, Result};
use skyweir_indexer::CursorChoice;
use skyweir_indexer::source::SourceKind;
use skyweir_types::AcrossAccounts;

/// Marks a data directory that was filled from the beginning of its source.
const MARK: &str = "FROM_THE_BEGINNING";

/// What has to be said about follows that can't be known; `None` when the source tells all from its beginning.
///
/// # Errors
/// The data directory refuses the mark.
pub(crate) fn note(data_dir: &Path, source: &SourceKind, cursor: CursorChoice) -> Result<Option<String>> {
    let mark = data_dir.join(MARK);
    let firehose = source.across_accounts() == AcrossAccounts::Upstream;
    let from_the_beginning = match cursor {
        _ if matches!(source, SourceKind::File(_)) => true,
        CursorChoice::At(0) => firehose,
        CursorChoice::At(_) | CursorChoice::Auto => mark.exists(),
        CursorChoice::Live => false,
    };
    if from_the_beginning {
        std::fs::write(&mark, source.id()).with_context(|| format!("cannot write {}", mark.display()))?;
        return Ok(None);
    }
    if mark.exists() {
        std::fs::remove_file(&mark).with_context(|| format!("cannot remove {}", mark.display()))?;
    }
    Ok(Some(
        "no backfill: only follows made since this data directory began are known, so timelines lack the accounts \
         that were followed before"
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use skyweir_indexer::source::parse;

    use super::*;

    #[test]
    fn a_directory_remembers_that_it_began_at_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let firehose = parse("ws://h/xrpc/com.atproto.sync.subscribeRepos").unwrap();
        let jetstream = parse("ws://h/subscribe").unwrap();
        let says = |source: &SourceKind, cursor| note(dir.path(), source, cursor).unwrap().is_some();
        assert!(says(&firehose, CursorChoice::Auto));
        assert!(says(&jetstream, CursorChoice::At(0)), "a Jetstream keeps some days");
        assert!(!says(&firehose, CursorChoice::At(0)));
        assert!(!says(&firehose, CursorChoice::Auto), "it remembers");
        assert!(says(&firehose, CursorChoice::Live), "what comes between is lost");
        assert!(says(&firehose, CursorChoice::Auto));
        assert!(!says(&parse("file:x").unwrap(), CursorChoice::Auto));
    }
}
