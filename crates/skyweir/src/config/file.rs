//! The configuration file: read, or explained with line, key and what was meant.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use toml::de::{DeTable, DeValue};

use super::Config;
use crate::suggest::nearest;

/// Where each key of a file stands.
#[derive(Debug, Default)]
pub(super) struct Places {
    file: String,
    keys: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    /// The whole key, `timeline.cap`.
    key: String,
    line: usize,
    name: Range<usize>,
    value: Range<usize>,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<(Config, Places)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&path.display().to_string(), &text)
}

/// Reads the text of a file of this name.
pub(super) fn parse(file: &str, text: &str) -> Result<(Config, Places)> {
    let mut places = Places { file: file.to_owned(), keys: Vec::new() };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => return Err(places.explain(text, &error)),
    };
    places.collect("", table.get_ref(), text);
    match toml::from_str(text) {
        Ok(config) => Ok((config, places)),
        Err(error) => Err(places.explain(text, &error)),
    }
}

impl Places {
    /// File and line of a key, if it is set there.
    pub(super) fn line(&self, key: &str) -> Option<String> {
        let place = self.keys.iter().find(|place| place.key == key)?;
        Some(format!("{}, line {}", self.file, place.line))
    }

    fn collect(&mut self, before: &str, table: &DeTable<'_>, text: &str) {
        for (name, value) in table {
            let key = format!("{before}{}", name.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.collect(&format!("{key}."), inner, text);
            }
            let line = line(text, name.span().start);
            self.keys.push(Place { key, line, name: name.span(), value: value.span() });
        }
    }

    fn explain(&self, text: &str, error: &toml::de::Error) -> anyhow::Error {
        let file = &self.file;
        let Some(span) = error.span() else { return anyhow!("cannot read {file}: {}", error.message()) };
        let line = line(text, span.start);
        let message = error.message();
        if let Some((name, known)) = unknown(message) {
            let place = self.keys.iter().find(|place| place.name == span);
            let section = place.and_then(|place| place.key.rsplit_once('.')).map(|(section, _)| section);
            let section = section.map(|section| format!(" in [{section}]")).unwrap_or_default();
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!(", did you mean \"{near}\"?"),
                None => format!("; known are {}", known.join(", ")),
            };
            return anyhow!("cannot read {file}, line {line}: unknown key \"{name}\"{section}{hint}");
        }
        // tables come after what is in them
        let place = self.keys.iter().find(|place| within(&span, &place.value));
        match place {
            Some(place) => anyhow!("cannot read {file}, line {line}: {}: {}", place.key, plain(message)),
            None => anyhow!("cannot read {file}, line {line}: {message}"),
        }
    }
}

fn within(inner: &Range<usize>, outer: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The unknown key and the known ones, from serde's message.
fn unknown(message: &str) -> Option<(&str, Vec<&str>)> {
    let (name, expected) = message.strip_prefix("unknown field `")?.split_once('`')?;
    Some((name, expected.split('`').skip(1).step_by(2).collect()))
}

/// Says "expected u32" in words.
fn plain(message: &str) -> String {
    if message == "invalid socket address syntax" {
        return "names aren't looked up here, expected an address and a port, as in \"127.0.0.1:7700\""
            .to_owned();
    }
    let Some((found, expected)) = message.rsplit_once("expected ") else { return message.to_owned() };
    let expected = match expected {
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 on",
        "f64" => "a number",
        "a boolean" => "true or false",
        "socket address" => "an address and a port, as in \"127.0.0.1:7700\"",
        "path string" | "a string" => "a text in quotes",
        other => other,
    };
    format!("{found}expected {expected}")
}
