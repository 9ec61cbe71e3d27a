//! Licences of everything that is linked, tested or built with.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Checks what `cargo metadata` tells of all packages.
pub(crate) fn check(metadata: &Value) -> Result<()> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    // without a platform's filter on packages, only what the resolved graph names counts
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo metadata lists no resolved graph")?;
    let used: std::collections::HashSet<&Value> = nodes.iter().map(|node| &node["id"]).collect();
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| used.contains(&package["id"])) {
        let licence = package["license"].as_str().unwrap_or("none");
        if !passes(licence) {
            wrong.push(format!("{} {}: {licence}", package["name"], package["version"]));
        }
    }
    println!("{} packages", used.len());
    ensure!(wrong.is_empty(), "licences that are not allowed:\n{}", wrong.join("\n"));
    Ok(())
}

/// Whether an SPDX expression can be met with allowed licences. What can't be read doesn't pass.
fn passes(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    either(&mut words) == Some(true) && words.is_empty()
}

/// `a OR b`: the weakest binding.
fn either(words: &mut Vec<&str>) -> Option<bool> {
    let mut good = both(words)?;
    while words.pop_if(|word| word.eq_ignore_ascii_case("or")).is_some() {
        good |= both(words)?;
    }
    Some(good)
}

fn both(words: &mut Vec<&str>) -> Option<bool> {
    let mut good = one(words)?;
    while words.pop_if(|word| word.eq_ignore_ascii_case("and")).is_some() {
        good &= one(words)?;
    }
    Some(good)
}

fn one(words: &mut Vec<&str>) -> Option<bool> {
    let word = words.pop()?;
    if word == "(" {
        let good = either(words)?;
        return (words.pop()? == ")").then_some(good);
    }
    let mut good = ALLOWED.contains(&word);
    if words.pop_if(|word| word.eq_ignore_ascii_case("with")).is_some() {
        // an exception makes another licence of it: none is on the list
        words.pop()?;
        good = false;
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "MPL-2.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 AND ISC",
            "(GPL-2.0 AND MIT) OR Zlib",
        ] {
            assert!(passes(good), "{good}");
        }
        for bad in [
            "MPL-2.0",
            "none",
            "",
            "MIT AND MPL-2.0",
            "MIT AND (MPL-2.0 OR GPL-3.0)",
            "Apache-2.0 WITH LLVM-exception",
            "(MIT",
            "MIT Apache-2.0",
            "OR MIT",
            "MIT OR",
        ] {
            assert!(!passes(bad), "{bad}");
        }
    }
}
