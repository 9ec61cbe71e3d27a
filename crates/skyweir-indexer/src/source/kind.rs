//! Which source a URL names.

use std::path::PathBuf;

use http::Uri;
use skyweir_types::AcrossAccounts;

use super::Error;
use crate::archive::Archive;
use crate::repos::{Page, REPOSITORIES_OF};

pub(super) const KNOWN: &str = "ws(s)://HOST/xrpc/network.bsky.jetstream.subscribeEvents (Jetstream v2), \
     ws(s)://HOST/subscribe (Jetstream v1), ws(s)://HOST/xrpc/com.atproto.sync.subscribeRepos (firehose), \
     file:PATH (Jetstream v1 lines, .zst too)";

/// What the name of an archive begins with; the live stream's follows.
const ARCHIVE_OF: &str = "archive of ";
/// The same, when it is read for what the stream had no longer.
const MISSED_OF: &str = "archive behind ";

const PATH_V2: &str = "/xrpc/network.bsky.jetstream.subscribeEvents";
const PATH_V1: &str = "/subscribe";
const PATH_FIREHOSE: &str = "/xrpc/com.atproto.sync.subscribeRepos";

/// A source, as its URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A WebSocket.
    Stream(Stream),
    /// A file of Jetstream v1 lines.
    File(PathBuf),
    /// What a Jetstream v2 has sealed.
    Archive(Archive),
    /// Some repositories of a relay or PDS.
    Repositories(Page),
}

/// A WebSocket and what it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What it speaks.
    pub(super) protocol: Protocol,
    /// Whether over TLS.
    pub(super) tls: bool,
    /// Host and port as in the URL.
    pub(super) authority: String,
    /// The path.
    pub(super) path: String,
    /// The operator's own query, sent before ours.
    pub(super) query: Option<String>,
}

impl Stream {
    fn id(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    /// The path of another method of the same host, with its query.
    pub(crate) fn path_of(&self, call: &str) -> String {
        let query = self.query.as_deref().map(|query| {
            let mark = if call.contains('?') { '&' } else { '?' };
            format!("{mark}{query}")
        });
        let methods = self.path.trim_end_matches(char::is_alphanumeric);
        format!("{methods}{call}{}", query.unwrap_or_default())
    }

    /// Whether its host has repositories.
    pub(super) fn has_repositories(&self) -> bool {
        self.protocol == Protocol::Firehose
    }

    /// Whether it is over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}

/// What a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    V1,
    V2,
    Firehose,
}

/// Reads a URL.
///
/// # Errors
/// [`Error::Url`], whose text lists the known forms.
pub fn parse(url: &str) -> Result<SourceKind, Error> {
    let wrong = |why| Error::Url { url: url.to_owned(), why };
    if let Some(path) = url.strip_prefix("file:") {
        let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
        if path.is_empty() {
            return Err(wrong("the path is missing"));
        }
        return Ok(SourceKind::File(PathBuf::from(path)));
    }
    let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
    let tls = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        _ => return Err(wrong("its scheme is none of ws, wss, file")),
    };
    let authority = uri.authority().ok_or_else(|| wrong("the host is missing"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("names and passwords in it are of no use"));
    }
    let protocol = match uri.path() {
        path if path.ends_with(PATH_V2) => Protocol::V2,
        path if path.ends_with(PATH_FIREHOSE) => Protocol::Firehose,
        path if path.ends_with(PATH_V1) => Protocol::V1,
        _ => return Err(wrong("its path is unknown")),
    };
    let query = uri.query().filter(|query| !query.is_empty()).map(str::to_owned);
    let names =
        query.as_deref().unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or(pair));
    for name in names {
        match name {
            "cursor" => return Err(wrong("the cursor is given with --cursor")),
            "collections"
            | "wantedCollections"
            | "kinds"
            | "dids"
            | "wantedDids"
            | "requireHello"
            | "compress"
            | "zstdDictionary"
            | "maxMessageSizeBytes" => {
                return Err(wrong("filters and compression are for Skyweir to ask for"));
            }
            _ => {}
        }
    }
    Ok(SourceKind::Stream(Stream {
        protocol,
        tls,
        authority: authority.as_str().to_owned(),
        path: uri.path().to_owned(),
        query,
    }))
}

/// Reads the URL of a Jetstream v2: of its host, `http(s)://HOST`, or of its stream. Returns its archive, for follows
/// of any age and posts and reposts from a time on, in microseconds since 1970, and the live stream that goes on behind
/// it.
///
/// # Errors
/// [`Error::Url`].
pub fn parse_archive(url: &str, items_since_us: i64) -> Result<(SourceKind, SourceKind), Error> {
    let wrong = |why| Error::Url { url: url.to_owned(), why };
    let live = parse_live(url, PATH_V2)?;
    match live.archive(items_since_us) {
        Some(archive) => Ok((archive, live)),
        None => Err(wrong("it has no archive; http(s)://HOST of a Jetstream v2 has one")),
    }
}

/// Reads the URL of a relay or PDS: of its host, `http(s)://HOST`, or of its firehose. Returns the firehose.
///
/// # Errors
/// [`Error::Url`].
pub(crate) fn parse_repositories(url: &str) -> Result<Stream, Error> {
    match parse_live(url, PATH_FIREHOSE)? {
        SourceKind::Stream(stream) if stream.has_repositories() => Ok(stream),
        _ => Err(Error::Url { url: url.to_owned(), why: "it has no repositories; a relay or a PDS has" }),
    }
}

/// The live stream of a host, or the one that is named.
fn parse_live(url: &str, path: &str) -> Result<SourceKind, Error> {
    let host = url.strip_prefix("http").filter(|rest| rest.starts_with("://") || rest.starts_with("s://"));
    match host {
        Some(rest) => parse(&format!("ws{}{path}", rest.trim_end_matches('/'))),
        None => parse(url),
    }
}

/// The live stream that a backfill is under way for, going by the name of its place.
#[must_use]
pub fn unfinished(saved: &str) -> Option<&str> {
    let repositories = || saved.strip_prefix(REPOSITORIES_OF)?.split(' ').next();
    saved.strip_prefix(ARCHIVE_OF).or_else(|| missed(saved)).or_else(repositories)
}

/// The live stream of which the archive is read for what was missed, going by the name of the place.
pub(crate) fn missed(saved: &str) -> Option<&str> {
    saved.strip_prefix(MISSED_OF)
}

/// Whether an archive is read that a store begins with, going by the name of the place.
pub(crate) fn is_beginning(saved: &str) -> bool {
    saved.starts_with(ARCHIVE_OF)
}

impl SourceKind {
    /// Which order across accounts it keeps.
    #[must_use]
    pub fn across_accounts(&self) -> AcrossAccounts {
        match self {
            Self::Stream(Stream { protocol: Protocol::Firehose, .. }) => AcrossAccounts::Upstream,
            _ => AcrossAccounts::Slips,
        }
    }

    /// What a stream of Jetstream v2 has sealed; posts and reposts from this time on, microseconds since 1970.
    pub(crate) fn archive(&self, items_since_us: i64) -> Option<Self> {
        match self {
            Self::Stream(stream) if stream.protocol == Protocol::V2 => {
                Some(Self::Archive(Archive { stream: stream.clone(), items_since_us, is_missed: false }))
            }
            _ => None,
        }
    }

    /// The same for what a store has missed that the stream has fed: whatever happened since is wanted, as the stream
    /// would have told it.
    pub(crate) fn missed(&self) -> Option<Self> {
        match self.archive(i64::MIN) {
            Some(Self::Archive(archive)) => Some(Self::Archive(Archive { is_missed: true, ..archive })),
            _ => None,
        }
    }

    /// The URL without query: the name under which the cursor is saved.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Stream(stream) => stream.id(),
            Self::Archive(archive) => {
                let name = if archive.is_missed { MISSED_OF } else { ARCHIVE_OF };
                format!("{name}{}", archive.stream.id())
            }
            Self::Repositories(page) => page.id(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_apart_by_their_path() {
        for (url, across) in [
            (
                "wss://jetstream.us-east.bsky.network/xrpc/network.bsky.jetstream.subscribeEvents",
                AcrossAccounts::Slips,
            ),
            ("ws://localhost:6008/subscribe", AcrossAccounts::Slips),
            ("wss://bsky.network/xrpc/com.atproto.sync.subscribeRepos", AcrossAccounts::Upstream),
            ("file:events.jsonl.zst", AcrossAccounts::Slips),
        ] {
            let kind = parse(url).unwrap();
            assert_eq!((kind.id().as_str(), kind.across_accounts()), (url, across));
        }
        assert_eq!(parse("ws://h/subscribe?token=1").unwrap().id(), "ws://h/subscribe");
        assert_eq!(parse("file:///a/b").unwrap(), SourceKind::File("/a/b".into()));
    }

    #[test]
    fn an_archive_is_known_by_its_host_or_stream() {
        let stream = "wss://h:8/xrpc/network.bsky.jetstream.subscribeEvents";
        for url in [
            "https://h:8",
            "https://h:8/",
            stream,
            "wss://h:8/xrpc/network.bsky.jetstream.subscribeEvents?a=b",
        ] {
            let (archive, live) = parse_archive(url, 7).unwrap();
            assert_eq!((archive.id(), live.id()), (format!("archive of {stream}"), stream.to_owned()));
            let behind = live.missed().unwrap().id();
            assert_eq!(behind, format!("archive behind {stream}"));
            assert_eq!((unfinished(&archive.id()), unfinished(&behind)), (Some(stream), Some(stream)));
            assert_eq!((missed(&archive.id()), missed(&behind)), (None, Some(stream)));
            let SourceKind::Archive(Archive { stream, .. }) = archive else { panic!("{archive:?}") };
            let query = if url.contains("a=b") { "&a=b" } else { "" };
            assert_eq!(
                stream.path_of("getBlock?x=1"),
                format!("/xrpc/network.bsky.jetstream.getBlock?x=1{query}")
            );
        }
        for url in ["h", "ws://h/subscribe", "file:x", "https://", "httpx://h"] {
            assert!(parse_archive(url, 7).is_err(), "{url}");
        }
    }

    #[test]
    fn others_are_refused_with_the_known_forms() {
        for url in [
            "",
            "x",
            "http://h/subscribe",
            "ws://h/",
            "file:",
            "ws://h/subscribe?cursor=1",
            "ws://a:b@h/subscribe",
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains("subscribeEvents") && error.contains("file:PATH"), "{error}");
        }
    }
}
