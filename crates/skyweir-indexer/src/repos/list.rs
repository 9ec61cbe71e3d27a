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

#[derive(Debug, Deserialize)]
struct Repo {
    did: String,
    /// Hosts of before don't say it.
    #[serde(default = "yes")]
    active: bool,
    #[serde(default)]
    status: Option<String>,
}

fn yes() -> bool {
    true
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
    let listed: Listed = serde_json::from_slice(&bytes).map_err(|error| refused(&error.to_string()))?;
    if listed.repos.len() > PAGE {
        return Err(refused("the page has more accounts than asked for"));
    }
    let next = listed.cursor.filter(|cursor| !cursor.is_empty());
    if listed.repos.is_empty() && next.is_none() {
        return Ok(None);
    }
    if next.as_ref().is_some_and(|next| *next == place.after || next.len() > MOST_CURSOR) {
        return Err(refused("its cursor doesn't get on, or is too long"));
    }
    let named = listed.repos.len();
    let mut seen = HashSet::new();
    let accounts: Vec<Account> = listed
        .repos
        .into_iter()
        .filter_map(|row| {
            let repo = Repo::deserialize(row).ok()?;
            let status = AccountStatus::from_event(repo.active, repo.status.as_deref());
            Did::parse(&repo.did).ok().map(|did| Account { did, status })
        })
        .collect();
    let nameless = named - accounts.len();
    // read side by side, two of them would be in each other's way
    let accounts = accounts.into_iter().filter(|account| seen.insert(account.did.clone())).collect();
    let (common, stream, place) = (common.clone(), stream.clone(), place.clone());
    Ok(Some((Page { common, stream, place, accounts, nameless }, next)))
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

    #[test]
    fn values_pass_through_a_query() {
        assert_eq!(encoded("1699::did:web:a%3A8 &=ü"), "1699::did:web:a%253A8%20%26%3D%C3%BC");
    }

    #[test]
    fn older_hosts_list_only_the_active() {
        let text =
            r#"{"repos":[{"did":"did:plc:a","head":"x"},{"did":"x","active":false,"status":"deleted"}]}"#;
        let listed: Listed = serde_json::from_str(text).unwrap();
        let active = listed.repos.into_iter().map(|row| Repo::deserialize(row).unwrap().active);
        assert_eq!((listed.cursor, active.collect()), (None, vec![true, false]));
    }
}
