//! URIs of any scheme.

use super::bytes::Bytes;

static IN_SCHEMES: Bytes = Bytes::alphanumeric_and(b"_");

/// Whether a lexicon's `uri` format takes this text.
///
/// That is what the official software takes, which is neither RFC 3986 nor quite the specification: a scheme of ASCII
/// letters, digits and underscores, then anything without white space that isn't just slashes. No limit on the length.
#[must_use]
pub fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    !scheme.is_empty()
        && IN_SCHEMES.hold(scheme)
        && !rest.is_empty()
        && !rest.starts_with('/')
        && !has_space(rest)
}

/// White space as ECMAScript's `\s` has it: Unicode's less U+0085, and the byte order mark.
fn has_space(text: &str) -> bool {
    // all of ASCII's is at or below the space
    text.bytes().any(|byte| byte <= b' ' || !byte.is_ascii())
        && text.chars().any(|c| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}'))
}

#[cfg(test)]
mod tests {
    use super::is_uri;

    #[test]
    fn slashes_and_white_space() {
        for good in ["a:b", "https://x", "https://ä.example/ö", "mailto:a@b", "1_a://x", "a:b/\u{85}"] {
            assert!(is_uri(good), "{good}");
        }
        for bad in ["a:/b", "a:///b", "a://", "a:", ":b", "ä:b", "a-b:c", "a:b\u{a0}", "a:b\u{feff}", "a:\nb"]
        {
            assert!(!is_uri(bad), "{bad}");
        }
    }
}
