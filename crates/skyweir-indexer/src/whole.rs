//! Whether all follows are known: what a start makes of what was known before.

use skyweir_store::SavedCursor;
use skyweir_types::AcrossAccounts;

use crate::CursorChoice;
use crate::source::SourceKind;

/// Whether the store is whole once this start has saved a place; `None`: as it was before. A source tells everything
/// from its beginning if it is a file, an archive, or a firehose that is read from its first event; a Jetstream's
/// stream keeps some days.
pub(crate) fn at_start(
    choice: CursorChoice,
    saved: Option<&SavedCursor>,
    source: &SourceKind,
) -> Option<bool> {
    let is_file = match source {
        // whoever begins with its stream is refused before
        SourceKind::Archive(_) => return saved.is_none().then_some(true),
        // says so itself, at its end
        SourceKind::Repositories(_) => return None,
        SourceKind::File(_) => true,
        SourceKind::Stream(_) => false,
    };
    let is_firehose = source.across_accounts() == AcrossAccounts::Upstream;
    match choice {
        // the place of another source is refused
        CursorChoice::Auto => saved.is_none().then_some(is_file),
        CursorChoice::Live => Some(is_file),
        CursorChoice::At(0) => Some(is_file || is_firehose),
        CursorChoice::At(number) => {
            let goes_on = |saved: &SavedCursor| saved.source == source.id() && number <= saved.position;
            (!saved.is_some_and(goes_on)).then_some(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{parse, parse_archive};

    #[test]
    fn only_what_is_read_from_its_beginning_makes_whole() {
        let firehose = parse("ws://h/xrpc/com.atproto.sync.subscribeRepos").unwrap();
        let (archive, jetstream) = parse_archive("http://h", 7).unwrap();
        let file = parse("file:x").unwrap();
        let place = |source: &SourceKind| Some(SavedCursor { source: source.id(), position: 9, time_us: 0 });
        let says = |source: &SourceKind, choice, saved: Option<SavedCursor>| {
            at_start(choice, saved.as_ref(), source)
        };
        for (source, tells_all) in [(&firehose, false), (&jetstream, false), (&file, true)] {
            let of_own = || place(source);
            assert_eq!(says(source, CursorChoice::Auto, None), Some(tells_all), "{source:?}");
            assert_eq!(says(source, CursorChoice::Auto, of_own()), None);
            assert_eq!(
                says(source, CursorChoice::Live, of_own()),
                Some(tells_all),
                "what comes between is lost"
            );
            assert_eq!(
                says(source, CursorChoice::At(9), of_own()),
                None,
                "it comes again, and nothing is lost"
            );
            assert_eq!(says(source, CursorChoice::At(10), of_own()), Some(false), "perhaps a gap");
            assert_eq!(says(source, CursorChoice::At(7), None), Some(false), "what was before is missing");
            assert_eq!(says(source, CursorChoice::At(7), place(&archive)), Some(false));
        }
        assert_eq!(says(&firehose, CursorChoice::At(0), place(&file)), Some(true));
        assert_eq!(says(&jetstream, CursorChoice::At(0), None), Some(false), "a Jetstream keeps some days");
        assert_eq!(says(&archive, CursorChoice::Auto, None), Some(true));
        assert_eq!(says(&archive, CursorChoice::Auto, place(&archive)), None);
        assert_eq!(says(&archive, CursorChoice::At(9), place(&jetstream)), None);
    }
}
