//! Which accounts a host has: `listRepos`, page by page.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;
use skyweir_types::{AccountStatus, Clock, Did};
use tokio::time::sleep;

use super::hosts::{Gates, Host};
use super::place::{Account, Common, Page, Place};
use crate::archive::http::Failure;
use crate::source::{Backoff, Error, SourceConfig, SourceKind, Stream};

/// How many accounts a page has; no host gives more.
const PAGE: usize = 1_000;
/// A page has a quarter of a megabyte.
const MOST_BYTES: usize = 8 << 20;
/// Longer cursors are none: they are saved with each step.
const MOST_CURSOR: usize = 1_024;

#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(default)]
    cursor: Option<String>,
    repos: Vec<Value>,
}

/// Whether a row is of an account that has a repository. Hosts of before don't say it.
fn is_active(row: &Value) -> bool {
    row.get("active").and_then(Value::as_bool).unwrap_or(true)
}

/// What a row says; nothing if it names no account. A wrong one is no reason to read none.
fn account(row: &Value) -> Option<Account> {
    let did = Did::parse(row.get("did")?.as_str()?).ok()?;
    let status = AccountStatus::from_event(is_active(row), row.get("status").and_then(Value::as_str));
    Some(Account { did, status })
}

/// The page behind a place, and the cursor behind it; no page at the end.
pub(super) async fn page(
    host: &mut Host,
    stream: &Stream,
    place: &Place,
    common: &Common,
) -> Result<Option<(Page, Option<String>)>, Failure> {
    let cursor = match place.after.as_str() {
        "" => String::new(),
        after => format!("&cursor={}", encoded(after)),
    };
    let refused = |why: &str| Failure::Refused(format!("listRepos: {why}"));
    let mut answer = host.get(&format!("listRepos?limit={PAGE}{cursor}")).await?;
    let bytes = answer.whole(MOST_BYTES).await?.ok_or_else(|| refused("the page is too long"))?;
    parsed(&bytes, stream, place, common).map_err(|why| refused(&why))
}

fn parsed(
    bytes: &[u8],
    stream: &Stream,
    place: &Place,
    common: &Common,
) -> Result<Option<(Page, Option<String>)>, String> {
    let listed: Listed = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if listed.repos.len() > PAGE {
        return Err("the page has more accounts than asked for".to_owned());
    }
    let next = listed.cursor.filter(|cursor| !cursor.is_empty());
    // a host that leaves accounts out may send an empty page before the last
    if listed.repos.is_empty() && next.is_none() {
        return Ok(None);
    }
    if next.as_ref().is_some_and(|next| *next == place.after || next.len() > MOST_CURSOR) {
        return Err("its cursor doesn't get on, or is too long".to_owned());
    }
    let mut seen = HashSet::new();
    let accounts: Vec<Account> = listed.repos.iter().filter_map(account).collect();
    let nameless = listed.repos.len() - accounts.len();
    let unknown = listed.repos.iter().filter(|row| is_active(row) && account(row).is_none()).count();
    // read side by side, two of them would be in each other's way
    let accounts = accounts.into_iter().filter(|account| seen.insert(account.did.clone())).collect();
    let (common, stream, place) = (common.clone(), stream.clone(), place.clone());
    Ok(Some((Page { common, stream, place, accounts, nameless, unknown }, next)))
}

/// Whether a host has repositories and no archive. One that doesn't answer is taken for one with an archive.
///
/// # Errors
/// TLS can't be set up.
pub(crate) async fn serves(
    archive: &SourceKind,
    repositories: &SourceKind,
    config: &SourceConfig,
    clock: &Clock,
) -> Result<bool, Error> {
    let has_archive = answers(archive, "listSegments?limit=1", config, clock).await?;
    Ok(has_archive == Some(false)
        && answers(repositories, "listRepos?limit=1", config, clock).await? == Some(true))
}

/// Whether a method is there; `None` when there is no answer after some attempts.
async fn answers(
    live: &SourceKind,
    call: &str,
    config: &SourceConfig,
    clock: &Clock,
) -> Result<Option<bool>, Error> {
    let SourceKind::Stream(stream) = live else { return Ok(None) };
    let mut host = Host::new(stream, config, &Gates::default(), clock)?;
    let mut backoff = Backoff::new(config, clock.now_micros().unsigned_abs());
    for _ in 0..config.archive_attempts {
        match host.get(call).await {
            Ok(_) => return Ok(Some(true)),
            Err(Failure::Passing(..)) => sleep(backoff.pause()).await,
            Err(_) => return Ok(Some(false)),
        }
    }
    Ok(None)
}

/// A value of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            _ => {
                let hex = |digit: u8| char::from(b"0123456789ABCDEF"[usize::from(digit)]);
                out.extend(['%', hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::parse;

    #[test]
    fn values_pass_through_a_query() {
        assert_eq!(encoded("1699::did:web:a%3A8 &=ü"), "1699::did:web:a%253A8%20%26%3D%C3%BC");
    }

    fn read(text: &str, after: &str) -> Result<Option<(Page, Option<String>)>, String> {
        let live = "ws://h/xrpc/com.atproto.sync.subscribeRepos";
        let Ok(SourceKind::Stream(stream)) = parse(live) else { panic!("it is a stream") };
        let (live, after) = (live.to_owned(), after.to_owned());
        let place = Place { live, seq: 7, time_us: 0, done: 0, missing: 0, taken_since_us: None, after };
        parsed(text.as_bytes(), &stream, &place, &Common::default())
    }

    #[test]
    fn only_a_page_without_a_cursor_is_the_last() {
        for end in [r#"{"repos":[]}"#, r#"{"repos":[],"cursor":""}"#, r#"{"cursor":null,"repos":[]}"#] {
            assert!(read(end, "a").unwrap().is_none(), "{end}");
        }
        let (page, next) = read(r#"{"repos":[],"cursor":"b"}"#, "a").unwrap().unwrap();
        assert_eq!((page.accounts.len(), next.as_deref()), (0, Some("b")));
        assert!(read(r#"{"repos":[],"cursor":"a"}"#, "a").is_err(), "it would never end");
    }

    #[test]
    fn a_wrong_row_stands_for_itself() {
        let text = r#"{"repos":[{"did":"did:plc:a","head":"x"},{"did":"did:plc:b","active":false,"status":"deleted"},
            {"did":"did:plc:c","active":null,"status":7},{"did":"x"},{"did":7},{},null,
            {"did":"y","active":false,"status":"deleted"},{"did":"did:plc:a"}]}"#;
        let (page, next) = read(text, "").unwrap().unwrap();
        let account = |did, status| Account { did: Did::parse(did).unwrap(), status };
        let expected = [
            // older hosts list only the active, and don't say so
            account("did:plc:a", AccountStatus::Active),
            account("did:plc:b", AccountStatus::Deleted),
            account("did:plc:c", AccountStatus::Active),
        ];
        assert_eq!((page.accounts.as_ref(), next), (expected.as_slice(), None));
        assert_eq!((page.nameless, page.unknown), (5, 4), "who is deleted has no repository");
        assert!(read(r#"{"repos":{}}"#, "").is_err());
    }
}
