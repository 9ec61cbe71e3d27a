//! A reader of JSON in one pass, for the messages that come by the hundred million. It copies no text but what has
//! escapes.
//!
//! It reads only what is beyond doubt: `None` is not a verdict, it leaves the message to `serde_json`. What it does read
//! has to be what `serde_json` would have read: the tests of `straight.rs` compare the two.

use std::borrow::Cow;

use super::value::{DEEPEST, Value};

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES << 7;

/// A text, and how far it is read.
#[derive(Clone)]
pub(super) struct Json<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Json<'a> {
    /// At the begin of a message; `None` when it is no UTF-8.
    pub(super) fn new(message: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(message).ok().map(|text| Self { text, at: 0 })
    }

    /// The next byte that is no white space, not taken.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Nothing but white space may be left.
    pub(super) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        found.then_some(())
    }

    /// What is between two brackets, separated by commas; `item` takes one of it.
    fn list(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            item(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                byte if byte == close => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// An object whose keys have no escapes. `field` takes the value of each.
    pub(super) fn object(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        if self.peek()? != b'{' {
            return None;
        }
        self.list(b'}', |json| {
            let key = json.plain()?;
            json.take(b':')?;
            field(json, key)
        })
    }

    /// A text without escapes.
    pub(super) fn plain(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let from = self.at;
        let to = from + span(&self.text.as_bytes()[from..]);
        self.at = to + 1;
        (*self.text.as_bytes().get(to)? == b'"').then(|| &self.text[from..to])
    }

    /// Any text.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let from = self.at;
        if let Some(text) = self.plain() {
            return Some(Cow::Borrowed(text));
        }
        self.at = from;
        self.take(b'"')?;
        let mut whole = String::new();
        loop {
            let from = self.at;
            let to = from + span(&self.text.as_bytes()[from..]);
            whole.push_str(&self.text[from..to]);
            self.at = to + 1;
            match self.text.as_bytes().get(to)? {
                b'"' => return Some(Cow::Owned(whole)),
                b'\\' => whole.push(self.escape()?),
                _ => return None,
            }
        }
    }

    /// What stands behind a backslash. Pairs of surrogates are left to others.
    fn escape(&mut self) -> Option<char> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        Some(match bytes.get(self.at - 1)? {
            b'n' => '\n',
            byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let digits = bytes.get(self.at..self.at + 4)?;
                self.at += 4;
                let digit = |sum, byte: &u8| Some(sum << 4 | char::from(*byte).to_digit(16)?);
                char::from_u32(digits.iter().try_fold(0, digit)?)?
            }
            _ => return None,
        })
    }

    /// A whole number of at most 18 digits.
    pub(super) fn whole(&mut self) -> Option<i64> {
        let is_negative = self.peek()? == b'-';
        let from = self.at + usize::from(is_negative);
        let digits = &self.text.as_bytes()[from..];
        let length = digits.iter().take(19).take_while(|byte| byte.is_ascii_digit()).count();
        self.at = from + length;
        let is_clear = match digits.first()? {
            b'0' => length == 1 && !is_negative,
            _ => (1..=18).contains(&length),
        };
        if !is_clear || matches!(digits.get(length), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        let number = digits[..length].iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(if is_negative { -number } else { number })
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.at += word.len();
        (self.text.as_bytes().get(self.at - word.len()..self.at)? == word.as_bytes()).then_some(())
    }

    /// Any value.
    pub(super) fn value(&mut self) -> Option<Value<'a>> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: usize) -> Option<Value<'a>> {
        if depth > DEEPEST {
            return None;
        }
        Some(match self.peek()? {
            b'"' => Value::Text(self.string()?),
            b'{' => {
                let mut entries = Vec::with_capacity(4);
                self.list(b'}', |json| {
                    let key = json.string()?;
                    json.take(b':')?;
                    entries.push((key, json.value_at(depth + 1)?));
                    Some(())
                })?;
                Value::Map(entries)
            }
            b'[' => {
                let mut items = Vec::new();
                self.list(b']', |json| {
                    items.push(json.value_at(depth + 1)?);
                    Some(())
                })?;
                Value::Array(items)
            }
            b't' => self.word("true").map(|()| Value::Bool(true))?,
            b'f' => self.word("false").map(|()| Value::Bool(false))?,
            b'n' => self.word("null").map(|()| Value::Null)?,
            _ => Value::Int(self.whole()?),
        })
    }

    /// Goes behind a value that is of no interest, having looked at all of it.
    pub(super) fn skip(&mut self) -> Option<()> {
        self.skip_at(0)
    }

    fn skip_at(&mut self, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' => self.list(b'}', |json| {
                json.skip_string()?;
                json.take(b':')?;
                json.skip_at(depth + 1)
            }),
            b'[' => self.list(b']', |json| json.skip_at(depth + 1)),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.whole().map(|_| ()),
        }
    }

    fn skip_string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            self.at += span(&self.text.as_bytes()[self.at..]) + 1;
            match self.text.as_bytes().get(self.at - 1)? {
                b'"' => return Some(()),
                b'\\' => self.escape().map(|_| ())?,
                _ => return None,
            }
        }
    }
}

/// How many bytes stand before the first quote, backslash or control character.
fn span(bytes: &[u8]) -> usize {
    let mut length = 0;
    for eight in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(eight.try_into().expect("chunks of eight"));
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        // a borrow makes false ones only behind a true one
        let found = (quote | backslash | control) & HIGH;
        if found != 0 {
            return length + found.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    length + bytes[length..].iter().position(is_end).unwrap_or(bytes.len() - length)
}
