//! What a subscriber asks for: filters, cursors and compression, checked as the real servers check them.

use super::http::Answer;
use crate::event::Event;
use std::collections::HashSet;

/// From here on a cursor is a time in microseconds since 1970.
pub(super) const TIME_CURSOR: u64 = 1_000_000_000_000_000;
const COLLECTIONS_LIMIT: usize = 100;
const DIDS_LIMIT: usize = 10_000;
const KINDS: [&str; 4] = ["commit", "identity", "account", "sync"];

/// Which events a subscriber wants; an empty list wants all.
#[derive(Debug, Default)]
pub(super) struct Filter {
    kinds: HashSet<String>,
    dids: HashSet<String>,
    collections: Vec<String>,
    /// The largest uncompressed message in bytes; 0 for any.
    pub(super) max_size: usize,
}

impl Filter {
    pub(super) fn wants(&self, event: &Event) -> bool {
        let kind = self.kinds.is_empty() || self.kinds.contains(event.kind());
        let did = self.dids.is_empty() || self.dids.contains(&event.did);
        // collections constrain commits only
        let collection = self.collections.is_empty()
            || event.collection().is_none_or(|collection| {
                self.collections.iter().any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => collection.starts_with(prefix),
                    None => collection == pattern,
                })
            });
        kind && did && collection
    }

    pub(super) fn fits(&self, size: usize) -> bool {
        self.max_size == 0 || size <= self.max_size
    }

    fn limits(&self) -> Result<(), &'static str> {
        if self.collections.len() > COLLECTIONS_LIMIT {
            return Err("too many collections");
        }
        if self.dids.len() > DIDS_LIMIT {
            return Err("too many dids");
        }
        if !self.collections.iter().all(|pattern| is_collection(pattern)) {
            return Err("a collection is neither an NSID nor a prefix of one with .*");
        }
        if !self.dids.iter().all(|did| did.starts_with("did:")) {
            return Err("a did is no DID");
        }
        Ok(())
    }
}

/// A checked request for a stream.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) filter: Filter,
    pub(super) cursor: Option<u64>,
    /// v2: the dictionary's id.
    pub(super) dictionary: Option<u32>,
    /// v1: zstd asked for.
    pub(super) compress: bool,
}

/// Checks the query of `subscribeEvents`.
pub(super) fn parse_v2(pairs: &[(String, String)]) -> Result<Request, Answer> {
    let bad = |message: &str| Answer::error(400, "InvalidRequest", message);
    let mut request = Request::default();
    for (key, value) in pairs {
        match key.as_str() {
            "cursor" => request.cursor = Some(number(value).ok_or_else(|| bad("cursor is no number"))?),
            "kinds" if KINDS.contains(&value.as_str()) => {
                request.filter.kinds.insert(value.clone());
            }
            "kinds" => return Err(bad("unknown kind")),
            "dids" => {
                request.filter.dids.insert(value.clone());
            }
            "collections" => request.filter.collections.push(value.clone()),
            "maxMessageSizeBytes" => {
                let size: u32 = value.parse().map_err(|_| bad("maxMessageSizeBytes is no number"))?;
                request.filter.max_size = size as usize;
            }
            "zstdDictionary" => {
                let id = value.parse().map_err(|_| bad("zstdDictionary is no number"))?;
                request.dictionary = Some(id);
            }
            "wantedCollections" | "wantedDids" | "requireHello" | "compress" => {
                return Err(bad("a parameter of the legacy stream"));
            }
            _ => {}
        }
    }
    let filter = &request.filter;
    filter.limits().map_err(bad)?;
    if !filter.collections.is_empty() && !filter.kinds.is_empty() && !filter.kinds.contains("commit") {
        return Err(bad("collections without kind commit"));
    }
    Ok(request)
}

/// Checks the query of the legacy `/subscribe`.
pub(super) fn parse_v1(pairs: &[(String, String)]) -> Result<Request, Answer> {
    let bad = |message: &str| Answer::text(400, message);
    let mut request = Request::default();
    for (key, value) in pairs {
        match key.as_str() {
            "cursor" => request.cursor = Some(number(value).ok_or_else(|| bad("invalid cursor"))?),
            "wantedDids" => {
                request.filter.dids.insert(value.clone());
            }
            "wantedCollections" => request.filter.collections.push(value.clone()),
            "maxMessageSizeBytes" => request.filter.max_size = value.parse().unwrap_or(0),
            "compress" => request.compress = value == "true",
            _ => {}
        }
    }
    request.filter.limits().map_err(bad)?;
    Ok(request)
}

/// The filter that a v1 subscriber sends later, or why its connection is to be closed. Other message types are ignored.
pub(super) fn options_update(text: &str) -> Result<Option<Filter>, &'static str> {
    #[derive(serde::Deserialize)]
    struct Sourced {
        r#type: String,
        payload: Option<Payload>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Payload {
        wanted_collections: Vec<String>,
        wanted_dids: HashSet<String>,
        max_message_size_bytes: usize,
    }
    let sourced: Sourced = serde_json::from_str(text).map_err(|_| "invalid message")?;
    if sourced.r#type != "options_update" {
        return Ok(None);
    }
    let payload = sourced.payload.unwrap_or_default();
    let filter = Filter {
        kinds: HashSet::new(),
        dids: payload.wanted_dids,
        collections: payload.wanted_collections,
        max_size: payload.max_message_size_bytes,
    };
    filter.limits()?;
    Ok(Some(filter))
}

/// A cursor: digits only.
pub(super) fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn is_collection(pattern: &str) -> bool {
    let (name, least) = pattern.strip_suffix(".*").map_or((pattern, 3), |prefix| (prefix, 1));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    name.split('.').count() >= least && name.split('.').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Vec<(String, String)> {
        query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
    }

    #[test]
    fn v2_refuses_what_the_real_one_refuses() {
        for query in [
            "cursor=x",
            "cursor=-1",
            "kinds=likes",
            "collections=app.bsky.graph.fo*",
            "collections=app.bsky",
            "kinds=account&collections=app.bsky.feed.post",
            "maxMessageSizeBytes=big",
            "zstdDictionary=new",
            "dids=alice",
            "wantedCollections=app.bsky.feed.post",
            "compress=true",
        ] {
            assert!(parse_v2(&pairs(query)).is_err(), "{query}");
        }
        let request =
            parse_v2(&pairs("cursor=5&kinds=commit&collections=app.bsky.*&zstdDictionary=9&x=y")).unwrap();
        assert_eq!((request.cursor, request.dictionary), (Some(5), Some(9)));
    }

    #[test]
    fn filters_are_anded_and_collections_spare_other_kinds() {
        let follow = Event::delete("did:plc:a", 1, "app.bsky.graph.follow", "k");
        let account = Event::account("did:plc:a", 1, true, None);
        let wants = |query: &str| {
            let filter = parse_v2(&pairs(query)).unwrap().filter;
            (filter.wants(&follow), filter.wants(&account))
        };
        assert_eq!(wants(""), (true, true));
        assert_eq!(wants("collections=app.bsky.graph.*"), (true, true));
        assert_eq!(wants("collections=app.bsky.feed.*"), (false, true));
        assert_eq!(wants("collections=app.bsky.graph.follow&kinds=commit"), (true, false));
        assert_eq!(wants("dids=did:plc:b"), (false, false));
    }

    #[test]
    fn v1_options() {
        let text = r#"{"type":"options_update","payload":{"wantedCollections":["app.bsky.feed.post"]}}"#;
        let filter = options_update(text).unwrap().unwrap();
        assert!(!filter.wants(&Event::delete("did:plc:a", 1, "app.bsky.graph.follow", "k")));
        assert!(options_update(r#"{"type":"heartbeat"}"#).unwrap().is_none());
        assert!(options_update("nonsense").is_err());
        assert!(parse_v1(&pairs("cursor=1.5")).is_err());
    }
}
