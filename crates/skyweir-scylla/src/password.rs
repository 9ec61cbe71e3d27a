//! A password, which nothing shows.

use std::fmt;

use serde::Deserialize;

/// The longest name and password of a role, bytes.
const MOST: usize = 1_024;

/// A password. Neither messages nor log lines have it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct Password(String);

/// What stands in a file of settings: refused without the value in the message.
#[derive(Deserialize)]
#[serde(untagged, expecting = "invalid value, expected a text in quotes")]
enum Written {
    Text(String),
}

impl Password {
    /// The password of these bytes: all of them, but for a line break at their end.
    pub(crate) fn of_file(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let text = String::from_utf8(bytes).map_err(|_| "expected a password in UTF-8")?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let password = Self(text.strip_suffix('\r').unwrap_or(text).to_owned());
        password.check().map(|()| password)
    }

    /// Whether a role may have it, see [`check_login`].
    ///
    /// # Errors
    /// What is expected instead.
    pub fn check(&self) -> Result<(), &'static str> {
        check_login(&self.0)
    }

    /// The password itself, for who sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<Written> for Password {
    fn from(Written::Text(text): Written) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Whether this can be the name of a role that logs in, or its password: both are sent with a NUL between them.
///
/// # Errors
/// What is expected instead.
pub fn check_login(text: &str) -> Result<(), &'static str> {
    if (1..=MOST).contains(&text.len()) && !text.contains(['\0', '\n', '\r']) {
        return Ok(());
    }
    Err("expected 1 to 1024 bytes in one line, none of them NUL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", Password("sesame".into())), "Password(..)");
    }

    #[test]
    fn a_file_may_end_with_a_line_break() {
        for bytes in ["sesame", "sesame\n", "sesame\r\n"] {
            assert_eq!(Password::of_file(bytes.into()).unwrap().reveal(), "sesame");
        }
        assert_eq!(Password::of_file(" a b \n".into()).unwrap().reveal(), " a b ");
        for bytes in [&b""[..], b"\n", b"\r\n", b"a\n\n", b"a\nb", b"a\0b", b"\xff"] {
            assert!(Password::of_file(bytes.into()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn it_has_a_length() {
        for (n, is_right) in [(0, false), (1, true), (MOST, true), (MOST + 1, false)] {
            assert_eq!(check_login(&"x".repeat(n)).is_ok(), is_right, "{n}");
        }
    }
}
