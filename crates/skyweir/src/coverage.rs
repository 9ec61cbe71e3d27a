//! How much of the follow graph a data directory can know: all after a backfill, or from the beginning of a source.

use std::path::Path;

use anyhow::{Context, Result};
use skyweir_indexer::CursorChoice;
use skyweir_indexer::source::SourceKind;
use skyweir_types::AcrossAccounts;

/// Marks a data directory that was filled from the beginning of its source.
const MARK: &str = "FROM_THE_BEGINNING";

/// What has to be said about follows that can't be known; `None` when the source tells all from its beginning. `saved`
/// is the source of the saved cursor.
///
/// # Errors
/// The data directory refuses the mark.
pub(crate) fn note(
    data_dir: &Path,
    source: &SourceKind,
    cursor: CursorChoice,
    saved: Option<&str>,
) -> Result<Option<String>> {
    let mark = data_dir.join(MARK);
    let is_file = matches!(source, SourceKind::File(_));
    let firehose = source.across_accounts() == AcrossAccounts::Upstream;
    let goes_on = saved == Some(source.id().as_str());
    let from_the_beginning = match cursor {
        // a cursor of another source is refused: this start changes nothing
        CursorChoice::Auto if saved.is_some() && !goes_on => return Ok(None),
        CursorChoice::Auto if saved.is_none() => is_file,
        CursorChoice::Live => is_file,
        CursorChoice::At(0) => is_file || firehose,
        CursorChoice::At(_) | CursorChoice::Auto => goes_on && is_complete(data_dir),
    };
    if from_the_beginning {
        complete(data_dir, &source.id())?;
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

/// Notes that a data directory knows all follows, as long as it goes on with this source.
///
/// # Errors
/// The data directory refuses the mark.
pub(crate) fn complete(data_dir: &Path, source: &str) -> Result<()> {
    let mark = data_dir.join(MARK);
    std::fs::write(&mark, source).with_context(|| format!("cannot write {}", mark.display()))
}

/// Whether a data directory knows all follows up to its place.
pub(crate) fn is_complete(data_dir: &Path) -> bool {
    data_dir.join(MARK).exists()
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
        let told = |source: &SourceKind, cursor, saved: Option<&SourceKind>| {
            let saved = saved.map(SourceKind::id);
            note(dir.path(), source, cursor, saved.as_deref()).unwrap().is_some()
        };
        let says = |source, cursor| told(source, cursor, Some(source));
        assert!(told(&firehose, CursorChoice::Auto, None));
        assert!(says(&jetstream, CursorChoice::At(0)), "a Jetstream keeps some days");
        assert!(!told(&firehose, CursorChoice::At(0), None));
        assert!(!says(&firehose, CursorChoice::Auto), "it remembers");
        assert!(!says(&firehose, CursorChoice::At(7)));
        assert!(says(&firehose, CursorChoice::Live), "what comes between is lost");
        assert!(says(&firehose, CursorChoice::Auto));
        let file = parse("file:x").unwrap();
        assert!(!told(&file, CursorChoice::Auto, Some(&firehose)), "it is refused");
        assert!(says(&firehose, CursorChoice::Auto), "and leaves no mark");
        assert!(told(&file, CursorChoice::At(7), None), "what the first lines told is missing");
        assert!(!told(&file, CursorChoice::Auto, None));
        assert!(!says(&file, CursorChoice::Auto));
        assert!(told(&jetstream, CursorChoice::At(7), Some(&file)), "another source's mark");
        complete(dir.path(), &jetstream.id()).unwrap();
        assert!(!says(&jetstream, CursorChoice::Auto), "it goes on behind a backfill");
    }
}
