//! Handles.

use super::bytes::Bytes;

static IN_LABELS: Bytes = Bytes::alphanumeric_and(b"-");

/// Whether this is a handle: a domain name of at least two labels, the last of which starts with a letter.
#[must_use]
pub fn is_handle(text: &str) -> bool {
    text.len() <= 253
        && text.rsplit_once('.').is_some_and(|(rest, last)| {
            is_label(last) && last.as_bytes()[0].is_ascii_alphabetic() && rest.split('.').all(is_label)
        })
}

/// Whether this is a label of a domain name: 1 to 63 letters, digits and hyphens, no hyphen at either end.
pub(super) fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && IN_LABELS.hold(label)
        && !label.starts_with('-')
        && !label.ends_with('-')
}
