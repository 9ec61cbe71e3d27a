//! `cargo xtask ci`: everything that has to hold before a commit. The first failure ends it.

mod arrows;
mod cargo_test;
mod files;
mod licences;
mod servers;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;
pub(crate) use servers::Servers;

use crate::run::{Binary, Table, now, root, skip};
use crate::{cql, dashboard, mutants, oracle, torture};

/// A small load run: nothing is timed in it, what is read has to be right.
const LOAD_RUN: &str = "run --actors 3000 --mean-follows 20 --readers 200 --reasonable-limit 500 \
                        --celebrity-posts-every 1 --events-per-second 300 --duration 5 --deeper 0.3";

/// The tests that run on three nodes as well: the conformance suite.
const ON_THREE_NODES: [&str; 5] = ["--workspace", "--test", "store", "--test", "timelines"];

/// The seeded model over the whole path, as many seeds of it as there is time for.
const MODEL: [&str; 5] = ["--workspace", "--test", "model", "--", "few_on_cql"];
const MODEL_SEEDS: (&str, &str) = ("SKYWEIR_MODEL_SEEDS", "1");

/// The one that takes nodes away. It comes last.
const NODES_AWAY: [&str; 5] = ["--workspace", "--test", "nodes", "--", "--ignored"];

/// How much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out three nodes, the load run, dashboard, torture and oracle.
    #[arg(long)]
    fast: bool,
    /// Run nothing but the tests on a CQL server of three nodes.
    #[arg(long, conflicts_with = "fast")]
    only_three_nodes: bool,
}

#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration, bool)>,
}

impl Steps {
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n== {name}");
        let began = now();
        let result = work();
        let took = began.elapsed();
        self.done.push((name, took, result.is_ok()));
        println!(
            "== {name}: {} after {:.1} s",
            if result.is_ok() { "ok" } else { "FAILED" },
            took.as_secs_f64()
        );
        result.with_context(|| format!("ci stopped at: {name}"))
    }
}

/// Runs all steps and prints a summary; its last line tells the sum of all tests.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    let mut sum = cargo_test::Sum::default();
    let done = all(options, &mut steps, &mut sum);
    println!("\n== summary");
    let mut table = Table::new(&["step", "seconds", ""]);
    for (name, took, good) in &steps.done {
        let verdict = if *good { "ok" } else { "FAILED" };
        table.row([(*name).to_owned(), format!("{:.1}", took.as_secs_f64()), verdict.to_owned()]);
    }
    table.print();
    sum.print();
    done
}

fn all(options: &Options, steps: &mut Steps, sum: &mut cargo_test::Sum) -> Result<()> {
    if options.only_three_nodes {
        return three_nodes(steps, sum);
    }
    if options.fast {
        return tests(steps, sum);
    }
    std::thread::scope(|scope| {
        // mostly waits for a network: meanwhile the compiler has the cores
        let judge = scope.spawn(oracle::prepare);
        let before = before_the_oracle(steps, sum);
        if before.is_err() && !judge.is_finished() {
            println!("\nwaiting until the oracle is set up");
        }
        let is_set_up = judge.join().map_err(|_| anyhow!("setting up the oracle panicked")).flatten();
        let binary = before?;
        steps.step("oracle", || is_set_up.and_then(|()| oracle::run(&oracle::Options::usual(binary))))
    })
}

fn before_the_oracle(steps: &mut Steps, sum: &mut cargo_test::Sum) -> Result<Binary> {
    tests(steps, sum)?;
    three_nodes(steps, sum)?;
    // nothing is timed: the programs that the tests have driven will do, and no other build is needed
    let binary = Binary::of_tests()?;
    steps.step("load run", || load_run(&binary))?;
    steps.step("dashboard", || dashboard::run(&dashboard::Options::short(binary.clone())))?;
    steps.step("torture", || torture::run(&torture::Options::short(binary.clone())))?;
    Ok(binary)
}

fn tests(steps: &mut Steps, sum: &mut cargo_test::Sum) -> Result<()> {
    steps.step("fmt", || cargo(&["fmt", "--all", "--check"], &[]))?;
    steps.step("arrows between crates", || arrows::check(&metadata(&["--no-deps"])?))?;
    steps.step("files", files::check)?;
    steps.step("mutants apply", mutants::check)?;
    steps.step("licences", || licences::check(&metadata(&["--filter-platform", &host()?])?))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    steps.step("clippy", || cargo(&clippy, &[]))?;
    let doc = ["doc", "--no-deps", "--workspace", "--locked"];
    steps.step("doc", || cargo(&doc, &[("RUSTDOCFLAGS", "-D warnings")]))?;
    let mut servers = steps.step("servers", || Servers::up(1, false))?;
    steps.step("servers come back", || servers.come_back())?;
    steps.step("tests and doctests", || cargo_test::run(sum, &["--workspace"], &servers.variables()))?;
    steps.step("servers down", || servers.down())
}

/// What is read in it has to be right.
fn load_run(binary: &Binary) -> Result<()> {
    let program = binary.loadtest()?;
    let status = Command::new(&program).args(LOAD_RUN.split(' ')).status();
    let status = status.with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(status.success(), "the load run failed ({status})");
    Ok(())
}

/// What stands on CQL once more, where each write goes to three nodes. A cluster that the environment names has as many
/// as it has, and the tests have had it already.
fn three_nodes(steps: &mut Steps, sum: &mut cargo_test::Sum) -> Result<()> {
    if let Ok(named) = std::env::var(cql::VARIABLE) {
        return steps.step("three nodes", || left_out(&named));
    }
    let mut servers = steps.step("three nodes", || Servers::up(3, false))?;
    if servers.has_nodes() && servers.has_redis() {
        let variables = servers.variables();
        steps.step("conformance on three nodes", || cargo_test::run(sum, &ON_THREE_NODES, &variables))?;
        let seeds = (MODEL_SEEDS.0, MODEL_SEEDS.1.to_owned());
        let seeded = [variables.clone(), vec![seeds]].concat();
        steps.step("model on three nodes", || cargo_test::run(sum, &MODEL, &seeded))?;
        let lent = [variables, servers.lend()?].concat();
        steps.step("nodes taken away", || cargo_test::run(sum, &NODES_AWAY, &lent))?;
    }
    steps.step("three nodes down", || servers.down())
}

fn left_out(named: &str) -> Result<()> {
    skip(&format!(
        "three nodes: {}={named} names a server, and only nodes brought up here can be taken away: unset it",
        cql::VARIABLE
    ))
}

/// A cargo command in the workspace's root.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    // what `cargo run` tells this process about its own package is not meant for others
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs cargo in the workspace's root.
pub(crate) fn cargo(args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let status = command(args).envs(env.iter().copied()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo {} failed ({status})", args.join(" "));
    }
    Ok(())
}

fn metadata(args: &[&str]) -> Result<Value> {
    let output = command(&["metadata", "--format-version", "1", "--locked"]).args(args).output();
    let output = output.context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The platform that this machine builds for.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::require_all;

    #[test]
    fn that_nothing_runs_on_three_nodes_is_said() {
        match left_out("127.0.0.1:9") {
            Ok(()) => assert!(!require_all()),
            Err(why) => {
                assert!(require_all() && why.to_string().contains("=127.0.0.1:9 names a server"), "{why}")
            }
        }
    }
}
