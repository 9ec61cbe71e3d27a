//! A service under load, a Prometheus that scrapes it, and each query asked.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Options;
use super::panel::{Panel, Query};
use super::picture::{self, Drawn};
use super::prometheus::{Prometheus, Series};
use super::tools::is_there;
use crate::run::{Group, Serve, ServeSpec, Table, free_port, skip};

/// How long a start, or the load beyond its time, may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// What Grafana would put there: four scrapes.
const RANGE: &str = "4s";
/// Settings under which what takes hours in a service's life happens in seconds; it is there before its upstream.
const SETTINGS: &str = "[items]\nkeep = \"30d\"\n[writer]\ncheckpoint_seconds = 2\n\
                        [indexer.source]\nbackoff_most_ms = 500\n";
/// A network with a celebrity, read by some.
const LOAD: [&str; 16] = [
    "run",
    "--actors",
    "2000",
    "--mean-follows",
    "20",
    "--readers",
    "200",
    "--celebrity-posts-every",
    "1",
    "--events-per-second",
    "200",
    "--deeper",
    "0.3",
    "--checked-readers",
    "50",
    "--duration",
];
/// Rules that may find nothing on a service that is well, each with the reason.
const MAY_BE_EMPTY: [(&str, &str); 5] = [
    ("SkyweirReadsRefused", "no limit is reached under a small load"),
    ("SkyweirShortOfMemory", "there is memory for all timelines"),
    ("SkyweirDataPlaneFails", "there is no data plane behind"),
    ("SkyweirTasksLost", "there is no Redis in a data directory"),
    ("SkyweirServerUnreachable", "a data directory needs no server"),
];

/// Runs it; an error names each query that fails, or finds nothing and isn't said to.
pub(super) fn run(options: &Options, panels: &[Panel]) -> Result<()> {
    if !is_there("prometheus") {
        return skip("the dashboard's queries: prometheus is missing (apt-get install prometheus)");
    }
    let temp = tempfile::Builder::new().prefix("skyweir-dashboard-").tempdir()?;
    let done = ask(options, panels, temp.path());
    if done.is_err() {
        println!("logs are kept in {}", temp.keep().display());
    }
    done
}

fn ask(options: &Options, panels: &[Panel], dir: &Path) -> Result<()> {
    let upstream = free_port(&[0])?;
    let mut serve = serve(options, dir, upstream)?;
    let (grpc, admin) = serve.addrs(PATIENCE)?;
    let prometheus = Prometheus::start(dir, &admin)?;
    let from = prometheus.time()?;
    load(options, dir, upstream, (&grpc, &admin))?;
    let time = (from, prometheus.time()?);
    println!("{:.0} s of a service under load", time.1 - time.0);

    let (mut wrong, mut table) = (Vec::new(), Table::new(&["panel", "query", "series", "points", ""]));
    let mut drawn = Vec::new();
    for panel in panels {
        let mut found = Vec::new();
        for query in &panel.queries {
            let series = prometheus.range(&filled(&query.expr), time);
            let said = judge(query, &series);
            if let Verdict::Wrong(why) = &said {
                wrong.push(format!("{}, {}: {why}\n  {}", panel.title, query.legend, query.expr));
            }
            let series = series.unwrap_or_default();
            let points: usize = series.iter().map(|series| series.points.len()).sum();
            let counts = [series.len(), points].map(|count| count.to_string());
            let [many, points] = counts;
            table.row([panel.title.to_owned(), query.legend.to_owned(), many, points, said.text()]);
            found.push((query.legend, series));
        }
        drawn.push(found);
    }
    table.print();
    wrong.extend(rules(&prometheus, time)?);
    if let Some(file) = &options.png {
        let drawn: Vec<Drawn<'_>> = panels.iter().zip(drawn).collect();
        picture::draw(file, dir, &drawn, time)?;
    }
    ensure!(wrong.is_empty(), "{} queries fail or find nothing:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

fn serve(options: &Options, dir: &Path, upstream: u16) -> Result<Serve> {
    let config = dir.join("skyweir.toml");
    fs::write(&config, SETTINGS)?;
    Serve::start(&ServeSpec {
        binary: options.binary.path()?,
        data_dir: dir.join("data"),
        source: format!("ws://127.0.0.1:{upstream}/xrpc/network.bsky.jetstream.subscribeEvents"),
        cursor: "0".to_owned(),
        enrol: "reads".to_owned(),
        grpc_port: 0,
        more: vec!["--config".to_owned(), config.display().to_string()],
        env: Vec::new(),
        log: dir.join("serve.log"),
    })
}

/// Traffic and reads, by the program beside the service's.
fn load(options: &Options, dir: &Path, upstream: u16, (grpc, admin): (&str, &str)) -> Result<()> {
    let mut command = Command::new(options.binary.loadtest()?);
    command.args(LOAD).arg(options.seconds.to_string());
    command.args(["--api", grpc, "--admin", admin, "--upstream-port", &upstream.to_string()]);
    let log = dir.join("loadtest.log");
    let mut group = Group::spawn(&command, File::create(&log)?.into(), Stdio::inherit())?;
    let status = group.wait(PATIENCE + Duration::from_secs(options.seconds.into()))?;
    ensure!(status.success(), "the load failed ({status}):\n{}", fs::read_to_string(&log)?);
    Ok(())
}

/// A query as it is asked, with Grafana's variables filled in.
fn filled(expr: &str) -> String {
    expr.replace("$__rate_interval", RANGE).replace("$instance", ".*")
}

/// Whether a query does its work.
enum Verdict {
    Fine,
    Empty(&'static str),
    Wrong(String),
}

impl Verdict {
    fn text(&self) -> String {
        match self {
            Self::Fine => String::new(),
            Self::Empty(why) => format!("empty, because {why}"),
            Self::Wrong(why) => why.clone(),
        }
    }
}

fn judge(query: &Query, found: &Result<Vec<Series>>) -> Verdict {
    match (found, query.empty) {
        (Err(error), _) => Verdict::Wrong(format!("{error:#}")),
        (Ok(series), _) if has_points(series) => Verdict::Fine,
        (Ok(_), Some(why)) => Verdict::Empty(why),
        (Ok(_), None) => Verdict::Wrong("no data".to_owned()),
    }
}

fn has_points(series: &[Series]) -> bool {
    series.iter().any(|series| !series.points.is_empty())
}

/// What is wrong with the alerts: one that can't be judged, or would never find anything.
fn rules(prometheus: &Prometheus, time: (f64, f64)) -> Result<Vec<String>> {
    let (mut wrong, rules) = (Vec::new(), prometheus.rules()?);
    for [name, expr, health] in &rules {
        if health != "ok" {
            wrong.push(format!("{name}: {health}"));
        }
        let measured = measured(expr);
        let series = prometheus.range(measured, time).with_context(|| name.clone())?;
        let seldom = MAY_BE_EMPTY.iter().any(|(rule, _)| rule == name);
        if !has_points(&series) && !seldom {
            wrong.push(format!("{name}: finds nothing: {measured}"));
        }
    }
    for (name, _) in MAY_BE_EMPTY {
        if !rules.iter().any(|[rule, ..]| rule == name) {
            wrong.push(format!("{name}: no rule has this name any more (xtask/src/dashboard/live.rs)"));
        }
    }
    println!("{} alerts", rules.len());
    Ok(wrong)
}

/// What an alert compares with its limit.
fn measured(expr: &str) -> &str {
    let ends = [" > ", " < ", " == "].into_iter().filter_map(|sign| expr.find(sign));
    &expr[..ends.min().unwrap_or(expr.len())]
}

#[cfg(test)]
mod tests {
    use super::super::panel::query;
    use super::*;

    #[test]
    fn a_query_without_data_is_noticed() {
        let series =
            |points: &[(f64, f64)]| Series { labels: serde_json::json!({}), points: points.to_vec() };
        let plain = query("a", "b");
        assert!(matches!(judge(&plain, &Ok(vec![series(&[(1.0, 0.0)])])), Verdict::Fine));
        assert!(matches!(judge(&plain, &Ok(vec![series(&[])])), Verdict::Wrong(_)));
        let seldom = query("a", "b").may_be_empty("it is well");
        assert!(matches!(judge(&seldom, &Ok(Vec::new())), Verdict::Empty("it is well")));
        assert!(matches!(judge(&seldom, &Err(anyhow::anyhow!("bad"))), Verdict::Wrong(_)));
    }

    #[test]
    fn the_measured_part_of_an_alert_is_found() {
        assert_eq!(measured("time() - a{b=~\"c\"} > 60 unless d < 1"), "time() - a{b=~\"c\"}");
        assert_eq!(
            filled("rate(a{instance=~\"$instance\"}[$__rate_interval])"),
            "rate(a{instance=~\".*\"}[4s])"
        );
    }
}
