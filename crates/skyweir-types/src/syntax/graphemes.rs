//! Lengths of text as readers count them.

use unicode_segmentation::UnicodeSegmentation;

/// Whether a text has at most so many extended grapheme clusters. They are only told apart where it matters: in a text
/// of more characters than that.
#[must_use]
pub fn graphemes_within(text: &str, most: usize) -> bool {
    // a cluster has at least one character, a character at least one byte
    text.len() <= most || text.chars().nth(most).is_none() || text.graphemes(true).nth(most).is_none()
}

#[cfg(test)]
mod tests {
    use super::graphemes_within;

    #[test]
    fn clusters_count_not_characters() {
        let family = "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}";
        for (cluster, name) in [
            ("a", "letter"),
            ("ä", "two bytes"),
            ("e\u{301}", "accent"),
            (family, "family"),
            ("\r\n", "line end"),
        ] {
            let text = cluster.repeat(300);
            assert!(graphemes_within(&text, 300), "{name}");
            assert!(!graphemes_within(&(text + "x"), 300), "{name}");
        }
        assert!(graphemes_within("", 0) && !graphemes_within("x", 0));
    }
}
