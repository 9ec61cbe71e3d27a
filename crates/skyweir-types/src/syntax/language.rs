//! Language tags.

use std::str::Split;

/// Tags from before BCP 47, in the case in which the official software has them.
const GRANDFATHERED: [&str; 26] = [
    "en-GB-oed",
    "i-ami",
    "i-bnn",
    "i-default",
    "i-enochian",
    "i-hak",
    "i-klingon",
    "i-lux",
    "i-mingo",
    "i-navajo",
    "i-pwn",
    "i-tao",
    "i-tay",
    "i-tsu",
    "sgn-BE-FR",
    "sgn-BE-NL",
    "sgn-CH-DE",
    "art-lojban",
    "cel-gaulish",
    "no-bok",
    "no-nyn",
    "zh-guoyu",
    "zh-hakka",
    "zh-min",
    "zh-min-nan",
    "zh-xiang",
];

/// Whether this is a language tag: BCP 47 without repeated variants and extensions, whose primary language is two or
/// three lower-case letters.
#[must_use]
pub fn is_language(text: &str) -> bool {
    // nearly all are just a language
    is_primary(text) || is_tag(text) || is_private(text.split('-')) || GRANDFATHERED.contains(&text)
}

fn is_primary(subtag: &str) -> bool {
    (2..=3).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn is_tag(text: &str) -> bool {
    let mut rest = text.split('-');
    let primary = rest.next().is_some_and(is_primary);
    for _ in 0..3 {
        take(&mut rest, |subtag| letters(subtag, 3)); // extended languages
    }
    take(&mut rest, |subtag| letters(subtag, 4)); // script
    take(&mut rest, |subtag| letters(subtag, 2) || digits(subtag, 3)); // region
    primary
        && variants(&mut rest)
        && extensions(&mut rest)
        && (rest.clone().next().is_none() || is_private(rest))
}

/// Takes all variants; false if one comes twice.
fn variants(rest: &mut Split<'_, char>) -> bool {
    let all = rest.clone();
    let mut count = 0;
    while let Some(variant) = take(rest, |subtag| {
        alphanumeric(subtag, 5, 8)
            || (alphanumeric(subtag, 4, 4) && subtag.starts_with(|c: char| c.is_ascii_digit()))
    }) {
        if all.clone().take(count).any(|earlier| earlier.eq_ignore_ascii_case(variant)) {
            return false;
        }
        count += 1;
    }
    true
}

/// Takes all extensions; false if one is empty or comes twice.
fn extensions(rest: &mut Split<'_, char>) -> bool {
    let mut seen = 0u128;
    while let Some(singleton) =
        take(rest, |subtag| alphanumeric(subtag, 1, 1) && !subtag.eq_ignore_ascii_case("x"))
    {
        let bit = 1 << singleton.as_bytes()[0].to_ascii_lowercase();
        if seen & bit != 0 || take(rest, |subtag| alphanumeric(subtag, 2, 8)).is_none() {
            return false;
        }
        seen |= bit;
        while take(rest, |subtag| alphanumeric(subtag, 2, 8)).is_some() {}
    }
    true
}

fn is_private(mut rest: Split<'_, char>) -> bool {
    let marked = rest.next().is_some_and(|subtag| subtag.eq_ignore_ascii_case("x"));
    let mut rest = rest.peekable();
    marked && rest.peek().is_some() && rest.all(|subtag| alphanumeric(subtag, 1, 8))
}

/// Takes the next subtag if it is such a one.
fn take<'t>(rest: &mut Split<'t, char>, is: impl Fn(&str) -> bool) -> Option<&'t str> {
    let next = rest.clone().next().filter(|subtag| is(subtag))?;
    rest.next();
    Some(next)
}

fn letters(subtag: &str, length: usize) -> bool {
    subtag.len() == length && subtag.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn digits(subtag: &str, length: usize) -> bool {
    subtag.len() == length && subtag.bytes().all(|byte| byte.is_ascii_digit())
}

fn alphanumeric(subtag: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::is_language;

    #[test]
    fn tags() {
        for good in [
            "en",
            "deu",
            "en-US",
            "es-419",
            "zh-Hant-TW",
            "zh-yue-HK",
            "de-DE-1901-1996",
            "sl-rozaj-biske",
            "x-a",
            "X-a1-b",
            "en-a-foo-b-bar-x-a",
            "i-klingon",
            "zh-min-nan",
            "de-1901",
            "en-x-twain",
        ] {
            assert!(is_language(good), "{good}");
        }
        for bad in [
            "",
            "e",
            "EN",
            "engl",
            "en_US",
            "en-",
            "-en",
            "en--US",
            "en-a",
            "en-a-x-b",
            "en-x",
            "x",
            "i-Klingon",
            "en-US-US",
            "en-Latn-abcd",
            "de-DE-1901-1901",
            "en-rozaj-ROZAJ",
            "en-a-foo-A-bar",
            "en-x-123456789",
            "jä",
        ] {
            assert!(!is_language(bad), "{bad}");
        }
    }
}
