//! Reads every timeline from the service and tells how it differs from the model's.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::feed::did;
use super::model::{Entry, Model};

/// How timelines differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Items that should be there.
    pub(crate) lost: usize,
    /// Items that are there more than once.
    pub(crate) doubled: usize,
    /// Items that should not be there.
    pub(crate) extra: usize,
    /// Timelines with the right items in a wrong order.
    pub(crate) misordered: usize,
    /// Items compared.
    pub(crate) items: usize,
    /// The first few, in words.
    pub(crate) examples: Vec<String>,
}

impl Differences {
    pub(crate) fn any(&self) -> bool {
        self.lost + self.doubled + self.extra + self.misordered > 0
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.extra += other.extra;
        self.misordered += other.misordered;
        self.items += other.items;
        self.examples.extend(other.examples);
        self.examples.truncate(12);
    }

    fn example(&mut self, viewer: usize, what: &str, entry: &Entry) {
        if self.examples.len() < 3 {
            self.examples.push(format!("{what} in the timeline of {}: {entry:?}", did(viewer)));
        }
    }
}

/// Compares the timelines of all accounts.
pub(crate) fn all(binary: &Path, grpc: &str, model: &Model, actors: usize) -> Result<Differences> {
    let mut sum = Differences::default();
    for viewer in 0..actors {
        sum.add(one(viewer, &model.timeline(viewer), &read(binary, grpc, viewer)?));
    }
    Ok(sum)
}

fn read(binary: &Path, grpc: &str, viewer: usize) -> Result<Vec<Entry>> {
    let mut command = Command::new(binary);
    command.args(["timeline", &did(viewer), "--grpc", grpc, "--all", "--json", "--limit", "100"]);
    let output = command.output().context("cannot start skyweir timeline")?;
    ensure!(
        output.status.success(),
        "skyweir timeline {} failed: {}",
        did(viewer),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)?.lines().map(entry).collect()
}

fn entry(line: &str) -> Result<Entry> {
    let line: serde_json::Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    Ok(Entry { uri: text("uri"), cid: text("cid"), repost: text("repost"), repost_cid: text("repost_cid") })
}

fn one(viewer: usize, expected: &[Entry], found: &[Entry]) -> Differences {
    let mut differences = Differences { items: expected.len(), ..Differences::default() };
    if expected == found {
        return differences;
    }
    let mut counts: HashMap<&Entry, usize> = HashMap::new();
    for entry in found {
        *counts.entry(entry).or_default() += 1;
    }
    let wanted: HashSet<&Entry> = expected.iter().collect();
    for entry in expected.iter().filter(|entry| !counts.contains_key(entry)) {
        differences.lost += 1;
        differences.example(viewer, "lost", entry);
    }
    for (entry, count) in counts {
        if !wanted.contains(entry) {
            differences.extra += count;
            differences.example(viewer, "extra", entry);
        } else if count > 1 {
            differences.doubled += count - 1;
            differences.example(viewer, "doubled", entry);
        }
    }
    if !differences.any() {
        differences.misordered = 1;
        if let Some((_, at)) = expected.iter().zip(found).find(|(e, f)| e != f) {
            differences.example(viewer, "out of order", at);
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[&str]) -> Vec<Entry> {
        let entry = |name: &&str| Entry {
            uri: (*name).into(),
            cid: String::new(),
            repost: String::new(),
            repost_cid: String::new(),
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn differences_have_names() {
        let wanted = entries(&["a", "b", "c"]);
        let counts = |found: &[&str]| {
            let d = one(0, &wanted, &entries(found));
            (d.lost, d.doubled, d.extra, d.misordered)
        };
        assert_eq!(counts(&["a", "b", "c"]), (0, 0, 0, 0));
        assert_eq!(counts(&["a", "c"]), (1, 0, 0, 0));
        assert_eq!(counts(&["a", "b", "b", "c"]), (0, 1, 0, 0));
        assert_eq!(counts(&["a", "b", "c", "x"]), (0, 0, 1, 0));
        assert_eq!(counts(&["b", "a", "c"]), (0, 0, 0, 1));
    }
}
