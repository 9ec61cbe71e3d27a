//! Names of metrics: what a dashboard, a rule or the guide asks for has to be in `docs/metrics.md`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::document;
use crate::run::root;

/// Files that name metrics.
const FILES: [&str; 4] =
    [document::FILE, "deploy/alerts.yml", "deploy/alerts.test.yml", "docs/operations.md"];
/// The series that a histogram has, by their endings.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_count", "_sum"];

/// Checks them all.
pub(super) fn check() -> Result<()> {
    let page = fs::read_to_string(root().join("docs/metrics.md"))?;
    let kinds = kinds(&page);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in FILES {
        let text = fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))?;
        let names = names(&text);
        seen += names.len();
        let faults = names.iter().filter_map(|name| fault(name, &kinds));
        wrong.extend(faults.map(|fault| format!("{file}: {fault}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{seen} names of metrics, all in docs/metrics.md");
    Ok(())
}

/// The type of each metric in the table of `docs/metrics.md`.
fn kinds(page: &str) -> BTreeMap<&str, &str> {
    page.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
    Some((name, rest.split_once(" | ")?.0))
}

/// Words of a text that look like metrics, in order.
fn names(text: &str) -> Vec<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !word(c)).filter(|name| name.starts_with("skyweir_")).collect()
}

/// What is wrong with a name.
fn fault(name: &str, kinds: &BTreeMap<&str, &str>) -> Option<String> {
    if kinds.contains_key(name) {
        return None;
    }
    let of = OF_HISTOGRAMS.iter().find_map(|ending| kinds.get(name.strip_suffix(ending)?));
    (of != Some(&"histogram")).then(|| format!("{name} is not in docs/metrics.md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| name | type |\n| `skyweir_a_total` | counter | count | x |\n\
                        | `skyweir_b_seconds` | histogram | seconds | y |\n";

    #[test]
    fn all_names_are_documented() {
        check().unwrap();
    }

    #[test]
    fn unknown_names_are_noticed() {
        let kinds = kinds(PAGE);
        assert_eq!(kinds["skyweir_b_seconds"], "histogram");
        for name in names("rate(skyweir_a_total[5m]) + skyweir_b_seconds_bucket{x=\"skyweir_b_seconds_sum\"}")
        {
            assert_eq!(fault(name, &kinds), None);
        }
        for name in ["skyweir_a", "skyweir_a_total_bucket", "skyweir_c_total", "skyweir_b_seconds_max"] {
            assert_eq!(fault(name, &kinds), Some(format!("{name} is not in docs/metrics.md")));
        }
    }
}
