//! AT-URIs.

use super::bytes::Bytes;
use super::{SyntaxError, is_did, is_handle, is_nsid, is_record_key};
use crate::{Collection, Did, RecordKey};

static IN_POINTERS: Bytes = Bytes::alphanumeric_and(b"._~:@!$&')(*+,;=%[]/-");

/// An AT-URI taken apart: `at://AUTHORITY[/COLLECTION[/RKEY]][#FRAGMENT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtUri<'t> {
    /// A DID or a handle.
    pub authority: &'t str,
    /// NSID of the collection.
    pub collection: Option<&'t str>,
    /// The record key; only behind a collection.
    pub rkey: Option<&'t str>,
    /// A JSON pointer into the record.
    pub fragment: Option<&'t str>,
}

impl<'t> AtUri<'t> {
    /// Checks and takes an AT-URI, as strictly as lexicons want it: no query, no slash at the end, at most 8,192 bytes.
    ///
    /// # Errors
    /// [`SyntaxError`] when it is none.
    pub fn parse(text: &'t str) -> Result<Self, SyntaxError> {
        Self::read(text).ok_or(SyntaxError("AT-URI"))
    }

    fn read(text: &'t str) -> Option<Self> {
        let rest = text.strip_prefix("at://").filter(|_| text.len() <= 8_192)?;
        let (path, fragment) = match rest.split_once('#') {
            Some((path, fragment)) => (path, Some(fragment)),
            None => (rest, None),
        };
        let mut parts = path.split('/');
        let uri = Self { authority: parts.next()?, collection: parts.next(), rkey: parts.next(), fragment };
        let valid = parts.next().is_none()
            && (is_did(uri.authority) || is_handle(uri.authority))
            && uri.collection.is_none_or(is_nsid)
            && uri.rkey.is_none_or(is_record_key)
            && fragment.is_none_or(is_pointer);
        valid.then_some(uri)
    }

    /// Whether the authority is a DID, as is needed to tell whose record it is.
    #[must_use]
    pub fn has_did(&self) -> bool {
        self.authority.starts_with("did:")
    }

    /// The record that this names; `None` unless it is a record of one of our collections, named by a DID.
    #[must_use]
    pub fn record(&self) -> Option<(Did, Collection, RecordKey)> {
        if self.fragment.is_some() {
            return None;
        }
        let collection = self.collection.and_then(Collection::from_nsid)?;
        Some((Did::parse(self.authority).ok()?, collection, RecordKey::parse(self.rkey?).ok()?))
    }
}

/// Whether this is a JSON pointer whose percent signs encode UTF-8.
fn is_pointer(text: &str) -> bool {
    if !text.starts_with('/') || !IN_POINTERS.hold(text) {
        return false;
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        decoded.push(if *byte == b'%' {
            let Some((hex, behind)) = rest.split_first_chunk::<2>() else { return false };
            let [Some(high), Some(low)] = hex.map(|digit| char::from(digit).to_digit(16)) else {
                return false;
            };
            rest = behind;
            (high << 4 | low) as u8
        } else {
            *byte
        });
    }
    std::str::from_utf8(&decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use super::AtUri;
    use crate::Collection;

    #[test]
    fn parts() {
        let uri = AtUri::parse("at://did:web:a.b/app.bsky.feed.post/3k").unwrap();
        assert_eq!(
            uri,
            AtUri {
                authority: "did:web:a.b",
                collection: Some("app.bsky.feed.post"),
                rkey: Some("3k"),
                fragment: None
            }
        );
        assert!(uri.has_did());
        let short = AtUri::parse("at://alice.example").unwrap();
        assert!(!short.has_did() && short.collection.is_none() && short.rkey.is_none());
    }

    #[test]
    fn records() {
        let record = |text: &str| AtUri::parse(text).unwrap().record();
        let (did, collection, rkey) = record("at://did:web:a/app.bsky.feed.repost/3k").unwrap();
        assert_eq!((did.as_str(), collection, rkey.as_str()), ("did:web:a", Collection::Repost, "3k"));
        for other in [
            "at://did:web:a",
            "at://did:web:a/app.bsky.feed.post",
            "at://did:web:a/app.bsky.feed.like/3k",
            "at://a.example/app.bsky.feed.post/3k",
            "at://did:web:a/app.bsky.feed.post/3k#/text",
        ] {
            assert_eq!(record(other), None, "{other}");
        }
    }

    #[test]
    fn fragments() {
        let fragment = |text: &str| AtUri::parse(&format!("at://did:web:a{text}")).is_ok();
        for good in ["#/", "#/a", "/a.b.c#/a/b", "/a.b.c/d#/%C3%A4", "#/[a]"] {
            assert!(fragment(good), "{good}");
        }
        for bad in [
            "#",
            "#a",
            "##",
            "#/#",
            "#/%",
            "#/%4",
            "#/%zz",
            "#/%+4",
            "#/%FF",
            "#/ä",
            "/#/a",
            "/a.b.c/#/a",
            "?a",
        ] {
            assert!(!fragment(bad), "{bad}");
        }
    }
}
