//! Cache misses a reference by stage. Virtual machines count none, so callgrind simulates the caches.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::data::Rows;
use super::program::Program;
use crate::run::skip;

/// The simulated last level: smaller than a real one, as the crowd is smaller than the bars'.
const LAST_LEVEL: &str = "--LL=1048576,16,64";
/// Functions of the benchmark, and the stages that they are.
const STAGES: [(&str, &str); 4] = [
    ("stage_pages", "follower pages"),
    ("stage_split", "meeting the enrolled, split by shard"),
    ("stage_write", "look-up and push"),
    ("stage_draw", "the draw"),
];
/// Functions that call each stage once, and how the benchmark names their crowd.
const CROWDS: [(&str, &str); 2] = [("under_celebrity", "celebrity"), ("under_small", "small authors")];

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
        .args(["--toggle-collect=*stages::stage_*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(&program.file)
        .args(["stages", "--under-callgrind", "--scale", "0.01", "--dir"])
        .arg(temp.path());
    let output = command.output().context("cannot start valgrind")?;
    if !output.status.success() {
        bail!("callgrind failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let counted = calls(&std::fs::read_to_string(&out)?);
    let text = String::from_utf8(output.stdout)?;
    let bar = text.lines().find_map(|line| line.strip_prefix("== ")).context("the benchmark named no bar")?;
    CROWDS
        .iter()
        .map(|(caller, crowd)| {
            let prefix = format!("references of {crowd}: ");
            let references = text.lines().find_map(|line| line.trim().strip_prefix(&prefix)?.parse().ok());
            let references = references.context("the benchmark told no number of references")?;
            table(bar, caller, crowd, references, &counted)
        })
        .collect()
}

/// Events, by their names.
type Events = BTreeMap<String, f64>;

/// What each stage cost each of the callers, all that it called counted.
fn calls(text: &str) -> BTreeMap<(&'static str, &'static str), Events> {
    let mut names: Vec<&str> = Vec::new();
    // a name is told once, with its number, then by its number alone
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut caller, mut callee) = (None, None);
    let mut all = BTreeMap::<_, Events>::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(events) = line.strip_prefix("events: ") {
            names = events.split_whitespace().collect();
        } else if let Some(name) = line.strip_prefix("fn=") {
            let name = resolve(&mut known, name);
            caller = CROWDS.iter().map(|(caller, _)| *caller).find(|caller| name.contains(caller));
        } else if let Some(name) = line.strip_prefix("cfn=") {
            let name = resolve(&mut known, name);
            callee = STAGES.iter().map(|(stage, _)| *stage).find(|stage| name.contains(stage));
        } else if line.starts_with("calls=")
            && let Some(costs) = lines.next()
            && let (Some(caller), Some(stage)) = (caller, callee)
        {
            let events = all.entry((caller, stage)).or_default();
            for (name, count) in names.iter().zip(costs.split_whitespace().skip(1)) {
                *events.entry((*name).to_owned()).or_default() += count.parse().unwrap_or(0.0);
            }
        }
    }
    all
}

/// The name behind `(number) name` or `(number)`.
fn resolve<'a>(known: &mut BTreeMap<&'a str, &'a str>, told: &'a str) -> &'a str {
    match told.split_once(' ') {
        Some((number, name)) => {
            known.insert(number, name);
            name
        }
        None => known.get(told).copied().unwrap_or(told),
    }
}

fn table(
    bar: &str,
    caller: &'static str,
    crowd: &str,
    references: f64,
    counted: &BTreeMap<(&'static str, &'static str), Events>,
) -> Result<Rows> {
    let head = ["instructions", "L1 misses, data", "last-level misses, data", "L1 misses, instructions"];
    let first = format!("a reference, {crowd}, by callgrind: a crowd of 20,000, last level 1 MiB");
    let head = std::iter::once(first).chain(head.map(str::to_owned)).collect();
    let mut rows = Vec::new();
    for (stage, name) in STAGES {
        let events = counted.get(&(caller, stage));
        let events = events.with_context(|| format!("callgrind has counted nothing in {stage}"))?;
        let sum =
            |names: &[&str]| names.iter().filter_map(|name| events.get(*name)).sum::<f64>() / references;
        let cells = vec![sum(&["Ir"]), sum(&["D1mr", "D1mw"]), sum(&["DLmr", "DLmw"]), sum(&["I1mr"])];
        ensure!(cells[0] > 0.0, "callgrind has counted no instruction in {stage}");
        rows.push((name.to_owned(), cells));
    }
    Ok(Rows { bar: bar.to_owned(), head, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stages_cost_their_callers_is_read() {
        let text = "events: Ir D1mr D1mw\nfn=(1) bars::stages::under_celebrity\n12 5\n\
                    cfn=(2) bars::stages::stage_split\ncalls=1 200\n* 100 20 3\ncfn=(3) other\ncalls=1 1\n7 7 7\n\n\
                    fn=(4) bars::stages::under_small\ncfn=(2)\ncalls=1 200\n+4 50\n\nfn=(2)\n1 1\n";
        let counted = calls(text);
        assert_eq!(counted.len(), 2, "{counted:?}");
        let of = |caller: &'static str| &counted[&(caller, "stage_split")];
        assert_eq!((of("under_celebrity")["Ir"], of("under_celebrity")["D1mw"]), (100.0, 3.0));
        assert_eq!(of("under_small").len(), 1, "zeros at the end are not told");
        let rows = table("bar", "under_small", "small authors", 10.0, &counted);
        assert!(rows.is_err(), "stages are missing");
    }
}
