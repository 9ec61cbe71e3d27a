//! Cache misses a reference by stage. Virtual machines count none, so callgrind simulates the caches.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::data::Rows;
use super::program::Program;
use crate::run::skip;

/// The simulated last level: so much smaller than a real one as the crowd is smaller than the bars'.
const LAST_LEVEL: &str = "--LL=1048576,16,64";
/// Functions of the benchmark, and the stages that they are.
const STAGES: [(&str, &str); 4] = [
    ("stage_pages", "follower pages"),
    ("stage_split", "meeting the enrolled, split by shard"),
    ("stage_write", "look-up and push"),
    ("stage_draw", "the draw"),
];
/// How the benchmark begins the line that tells how many references a crowd's stages handle.
const REFERENCES: &str = "references: ";

/// Runs the stages once under valgrind; a table for the celebrity and one for small authors.
pub(super) fn count(program: &Program) -> Result<Vec<Rows>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        skip("no valgrind: cache misses are not counted; install it with: apt-get install valgrind")?;
        return Ok(Vec::new());
    }
    println!("\n== cache misses by stage, simulated by callgrind: takes some minutes");
    let temp = tempfile::Builder::new().prefix("skyweir-callgrind-").tempdir()?;
    let out = temp.path().join("out");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--cache-sim=yes", LAST_LEVEL, "--collect-atstart=no"])
        .args(["--toggle-collect=*stages::stage_*", "--dump-after=*stages::stage_*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(&program.file)
        .args(["stages", "--under-callgrind", "--scale", "0.01", "--dir"])
        .arg(temp.path());
    let output = command.output().context("cannot start valgrind")?;
    if !output.status.success() {
        bail!("callgrind failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let counted = dumps(temp.path())?;
    let text = String::from_utf8(output.stdout)?;
    let mut references =
        text.lines().filter_map(|line| line.trim().strip_prefix(REFERENCES)?.parse::<f64>().ok());
    let bar = text.lines().find_map(|line| line.strip_prefix("== where")).map(|rest| format!("where{rest}"));
    let bar = bar.context("the benchmark named no bar")?;
    let mut tables = Vec::new();
    for (crowd, at) in [("the celebrity's page", 0), ("small authors' pages", 1)] {
        let references = references.next().context("the benchmark told no number of references")?;
        tables.push(table(&bar, crowd, at, references, &counted)?);
    }
    Ok(tables)
}

/// Events of one call, by their names.
type Events = BTreeMap<String, f64>;

/// One dump a call, in their order: function, what was counted.
fn dumps(folder: &Path) -> Result<Vec<(String, Events)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let part = path.extension().and_then(|part| part.to_str()).and_then(|part| part.parse::<u32>().ok());
        if let Some(part) = part {
            files.push((part, path));
        }
    }
    files.sort_unstable();
    let mut all = Vec::new();
    for (_, file) in files {
        all.extend(dump(&std::fs::read_to_string(file)?));
    }
    Ok(all)
}

/// What one dump tells, if one of the stages triggered it.
fn dump(text: &str) -> Option<(String, Events)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let trigger = field("desc: Trigger:")?;
    let (function, _) = STAGES.iter().find(|(function, _)| trigger.contains(function))?;
    let names = field("events:")?.split_whitespace();
    let numbers = field("totals:").or_else(|| field("summary:"))?.split_whitespace();
    let events = names.zip(numbers).filter_map(|(name, n)| Some((name.to_owned(), n.parse().ok()?)));
    Some(((*function).to_owned(), events.collect()))
}

fn table(bar: &str, crowd: &str, at: usize, references: f64, counted: &[(String, Events)]) -> Result<Rows> {
    let head = ["instructions", "L1 misses, data", "last-level misses, data", "L1 misses, instructions"];
    let first = format!("a reference of {crowd}, by callgrind");
    let head = std::iter::once(first).chain(head.map(str::to_owned)).collect();
    let mut rows = Vec::new();
    for (function, name) in STAGES {
        let events = counted.iter().filter(|(of, _)| of == function).nth(at);
        let (_, events) = events.with_context(|| format!("callgrind has counted nothing in {function}"))?;
        let sum = |names: &[&str]| {
            names.iter().filter_map(|name| events.get(*name)).sum::<f64>() / references.max(1.0)
        };
        let cells = vec![sum(&["Ir"]), sum(&["D1mr", "D1mw"]), sum(&["DLmr", "DLmw"]), sum(&["I1mr"])];
        ensure!(cells[0] > 0.0, "callgrind has counted no instruction in {function}");
        rows.push((name.to_owned(), cells));
    }
    Ok(Rows { bar: bar.to_owned(), head, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_read() {
        let text = "version: 1\ndesc: Trigger: --dump-after=bars::stages::stage_split\nevents: Ir D1mr DLmr\n\
                    totals: 100 20 3\n";
        let (function, events) = dump(text).unwrap();
        assert_eq!(function, "stage_split");
        assert_eq!((events["Ir"], events["D1mr"], events["DLmr"]), (100.0, 20.0, 3.0));
        assert!(dump(&text.replace("stage_split", "other")).is_none());
    }
}
