//! NSIDs: names of collections and of other schemas.

use super::handle::is_label;

/// Whether this is an NSID: a domain name backwards and a name, `app.bsky.feed.post`.
///
/// Like the official software this bounds the whole (317 bytes) and each part (63), but not the domain by itself.
#[must_use]
pub fn is_nsid(text: &str) -> bool {
    let Some((domain, name)) = text.rsplit_once('.') else { return false };
    text.len() <= 317
        && domain.contains('.')
        && domain.starts_with(|c: char| c.is_ascii_alphabetic())
        && domain.split('.').all(is_label)
        && is_label(name)
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !name.contains('-')
}
