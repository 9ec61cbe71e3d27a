//! Which of our crates may depend on which: a new arrow is an architectural decision and begins here.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Normal dependencies among our own crates; any other is an error.
const ARROWS: &[(&str, &[&str])] = &[
    ("skyweir-types", &[]),
    ("skyweir-proto", &[]),
    ("skyweir-listen", &[]),
    ("skyweir-store", &["skyweir-types"]),
    ("skyweir-embedded", &["skyweir-store", "skyweir-types"]),
    ("skyweir-scylla", &["skyweir-store", "skyweir-types"]),
    ("skyweir-graph", &["skyweir-listen", "skyweir-proto", "skyweir-store", "skyweir-types"]),
    ("skyweir-indexer", &["skyweir-store", "skyweir-types"]),
    ("skyweir-writer", &["skyweir-graph", "skyweir-store", "skyweir-types"]),
    ("skyweir-api", &["skyweir-listen", "skyweir-proto", "skyweir-store", "skyweir-types"]),
    ("skyweir-testkit", &["skyweir-store", "skyweir-types"]),
    ("skyweir-loadtest", &["skyweir-proto"]),
    (
        "skyweir",
        &[
            "skyweir-api",
            "skyweir-embedded",
            "skyweir-graph",
            "skyweir-indexer",
            "skyweir-loadtest",
            "skyweir-proto",
            "skyweir-scylla",
            "skyweir-store",
            "skyweir-types",
            "skyweir-writer",
        ],
    ),
    ("xtask", &[]),
];

/// Checks what `cargo metadata --no-deps` tells.
pub(crate) fn check(metadata: &Value) -> Result<()> {
    let wrong = wrong(metadata)?;
    ensure!(wrong.is_empty(), "{}\nthe table is in xtask/src/ci/arrows.rs", wrong.join("\n"));
    Ok(())
}

fn wrong(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            wrong.push(format!("{name} is not in the table of arrows"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let normal = dependency["kind"].is_null();
            if normal && names.contains(&to) && !allowed.contains(&to) {
                wrong.push(format!("{name} may not depend on {to}"));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(from: &str, to: &str, kind: Option<&str>) -> Vec<String> {
        let metadata = serde_json::json!({ "packages": [
            { "name": from, "dependencies": [{ "name": to, "kind": kind }, { "name": "serde", "kind": null }] },
            { "name": to, "dependencies": [] },
        ] });
        wrong(&metadata).unwrap()
    }

    #[test]
    fn only_the_tables_arrows_pass() {
        assert!(found("skyweir-api", "skyweir-store", None).is_empty());
        assert!(found("skyweir-types", "skyweir-testkit", Some("dev")).is_empty());
        assert_eq!(
            found("skyweir-api", "skyweir-embedded", None),
            ["skyweir-api may not depend on skyweir-embedded"]
        );
        assert_eq!(found("skyweir", "skyweir-testkit", None).len(), 1);
        assert_eq!(
            found("skyweir-new", "skyweir-types", None),
            ["skyweir-new is not in the table of arrows"]
        );
    }

    #[test]
    fn no_arrow_points_up() {
        for (name, below) in ARROWS {
            for (other, under) in ARROWS.iter().filter(|(other, _)| below.contains(other)) {
                assert!(!under.contains(name), "{name} and {other} depend on each other");
            }
        }
    }
}
