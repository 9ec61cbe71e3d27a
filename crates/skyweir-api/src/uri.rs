//! AT-URIs of records: `at://<did>/<collection>/<key>`.

use skyweir_types::{AtUri, Collection, Did, RecordKey};

/// Takes an AT-URI apart; `None` unless it names a record of one of our collections by a DID.
pub(crate) fn parse(uri: &str) -> Option<(Did, Collection, RecordKey)> {
    AtUri::parse(uri).ok()?.record()
}

/// The AT-URI of a record.
pub(crate) fn format(did: &Did, collection: Collection, rkey: &RecordKey) -> String {
    ["at://", did.as_str(), "/", collection.nsid(), "/", rkey.as_str()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusal() {
        let text = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3k2a";
        let (did, collection, rkey) = parse(text).unwrap();
        assert_eq!(format(&did, collection, &rkey), text);
        let bad = ["", "at://", "at://did:plc:x", "at://alice.example/app.bsky.feed.post/1", "https://x/y/z"];
        for bad in bad
            .iter()
            .chain(&["at://did:plc:x/app.bsky.feed.like/1", "at://did:plc:x/app.bsky.feed.post/1/2"])
        {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
