//! All syntax files of the AT Protocol's interop tests.

use std::path::PathBuf;

use skyweir_types::{Datetime, Format};

/// Where the official software, and so we, differ from the interop files. It decides what an AppView shows; the
/// files only say what ought to be written.
const DIFFERENCES: [(Format, Takes, &str); 10] = [
    // a scheme has no hyphens and dots there, and nothing is too long
    (Format::Uri, Takes::No, "content-type:text/plan"),
    (Format::Uri, Takes::No, "microsoft.windows.camera:thing"),
    (Format::Uri, Takes::Yes, "https://example.com/xxxxxxxxxx"),
    // a CID has to be as the library prints it: base 32, or version 0
    (Format::Cid, Takes::Yes, "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"),
    (Format::Cid, Takes::No, "zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7"),
    (Format::Cid, Takes::No, "mBcDxtdWx0aWhhc2g+"),
    (Format::Cid, Takes::No, "z7x3CtScH765HvShXT"),
    (Format::Cid, Takes::No, "zdj7WhuEjrB52m1BisYCtmjH1hSKa7yZ3jEZ9JcXaFRD51wVz"),
    (Format::Cid, Takes::No, "7134036155352661643226414134664076"),
    (Format::Cid, Takes::No, "f017012202c5f688262e0ece8569aa6f94d60aad55ca8d9d83734e4a7430d0cff6588ec2b"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Yes,
    No,
}

const FORMATS: [(&str, Format); 11] = [
    ("atidentifier", Format::AtIdentifier),
    ("aturi", Format::AtUri),
    ("cid", Format::Cid),
    ("datetime", Format::Datetime),
    ("did", Format::Did),
    ("handle", Format::Handle),
    ("language", Format::Language),
    ("nsid", Format::Nsid),
    ("recordkey", Format::RecordKey),
    ("tid", Format::Tid),
    ("uri", Format::Uri),
];

/// The folder of the files; `None` (and a word about it) when there is none.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn folder() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("SKYWEIR_SHARED").map_or(beside, PathBuf::from);
    let folder = shared.join("data/atproto-interop-tests/syntax");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() != Ok("1"), "{} is missing", folder.display());
    println!("skipped: no interop tests");
    None
}

/// The cases of a file: every line that is neither empty nor a comment.
fn cases(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn every_line_of_every_file() {
    let Some(folder) = folder() else { return };
    let (mut files, mut lines, mut differences) = (0, 0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (kind, expected) = match name.rsplit_once('_').unwrap() {
            (kind, "valid") => (kind, Takes::Yes),
            (kind, "invalid") => (kind, Takes::No),
            _ => panic!("{name} is neither valid nor invalid"),
        };
        let kind = kind.split('_').next().unwrap();
        let (_, format) = *FORMATS.iter().find(|(name, _)| *name == kind).expect("a format that we know");
        files += 1;
        for line in cases(&std::fs::read_to_string(&path).unwrap()) {
            lines += 1;
            let listed = DIFFERENCES
                .iter()
                .find(|(of, takes, head)| *of == format && *takes != expected && line.starts_with(head));
            differences += usize::from(listed.is_some());
            let expected = listed.map_or(expected, |(_, takes, _)| *takes);
            let found = if format.accepts(line) { Takes::Yes } else { Takes::No };
            assert_eq!(found, expected, "{name}: {line}");
            if format == Format::Datetime {
                // what is no date may look like one: the files draw the same line
                assert_eq!(Datetime::has_syntax(line), !name.ends_with("syntax_invalid"), "{name}: {line}");
            }
        }
    }
    assert_eq!((files, differences), (24, DIFFERENCES.len()));
    assert!(lines > 400, "only {lines} cases");
}
