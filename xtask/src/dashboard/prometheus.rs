//! A Prometheus of our own: started with the settings of `deploy/`, asked over its HTTP interface.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::run::{Group, free_port, get, now, root};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Prometheus; killed when dropped.
pub(super) struct Prometheus {
    group: Group,
    addr: String,
}

/// One series of an answer.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Value,
    /// Seconds since 1970, and what was then.
    pub(super) points: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Starts one that scrapes the service at `admin` each second.
    pub(super) fn start(dir: &Path, admin: &str) -> Result<Self> {
        let text = settings(&fs::read_to_string(root().join("deploy/prometheus.yml"))?, admin)?;
        let (config, log) = (dir.join("prometheus.yml"), dir.join("prometheus.log"));
        fs::write(&config, text)?;
        fs::copy(root().join("deploy/alerts.yml"), dir.join("alerts.yml"))?;
        let addr = format!("127.0.0.1:{}", free_port(&[0])?);
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={addr}"));
        let out = File::create(&log)?;
        let group = Group::spawn(&command, out.try_clone()?.into(), out.into())?;
        let mut started = Self { group, addr };
        let began = now();
        while !matches!(get(&started.addr, "/-/ready"), Ok((200, _))) {
            if started.group.ended()?.is_some() || began.elapsed() > PATIENCE {
                bail!("Prometheus is not ready:\n{}", fs::read_to_string(&log)?);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(started)
    }

    /// Its clock, seconds since 1970.
    pub(super) fn time(&self) -> Result<f64> {
        let answer = self.ask("query", &[("query", "time()")])?;
        let text = answer["result"][1].as_str();
        text.and_then(|text| text.parse().ok()).context("Prometheus doesn't tell the time")
    }

    /// What a query gives between two times, each second.
    pub(super) fn range(&self, expr: &str, (from, to): (f64, f64)) -> Result<Vec<Series>> {
        let (start, end) = (format!("{from:.3}"), format!("{to:.3}"));
        let told = [("query", expr), ("start", &start), ("end", &end), ("step", "1")];
        let answer = self.ask("query_range", &told)?;
        let found = answer["result"].as_array().context("Prometheus gives no series")?;
        Ok(found.iter().map(series).collect())
    }

    /// (name, expression, health and last error) of each rule.
    pub(super) fn rules(&self) -> Result<Vec<[String; 3]>> {
        let answer = self.ask("rules", &[])?;
        let groups = answer["groups"].as_array().context("Prometheus has no rules")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array()).flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = |rule: &Value| {
            let health = format!("{} {}", text(&rule["health"]), text(&rule["lastError"]));
            [text(&rule["name"]), text(&rule["query"]), health.trim().to_owned()]
        };
        Ok(rules.map(told).collect())
    }

    fn ask(&self, what: &str, told: &[(&str, &str)]) -> Result<Value> {
        let told: Vec<String> =
            told.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
        let (_, body) = get(&self.addr, &format!("/api/v1/{what}?{}", told.join("&")))?;
        let mut answer: Value = serde_json::from_str(&body).with_context(|| format!("no JSON: {body}"))?;
        ensure!(answer["status"] == "success", "Prometheus says: {}", answer["error"]);
        Ok(answer["data"].take())
    }
}

/// The settings of `deploy/`, with another service and no time to lose.
fn settings(text: &str, admin: &str) -> Result<String> {
    let mut text = text.to_owned();
    for (from, to) in [
        ("targets: [\"skyweir:7701\"]", format!("targets: [\"{admin}\"]")),
        ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
        ("evaluation_interval: 15s", "evaluation_interval: 1s".to_owned()),
    ] {
        ensure!(text.matches(from).count() == 1, "deploy/prometheus.yml: expected {from} once");
        text = text.replace(from, &to);
    }
    Ok(text)
}

fn series(found: &Value) -> Series {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let point = |point: &Value| Some((point[0].as_f64()?, number(&point[1])?));
    let points = found["values"].as_array().into_iter().flatten().filter_map(point);
    Series {
        labels: found["metric"].clone(),
        points: points.filter(|(_, value): &(f64, f64)| value.is_finite()).collect(),
    }
}

fn percent(text: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_deploy_are_taken() {
        let text = fs::read_to_string(root().join("deploy/prometheus.yml")).unwrap();
        let ours = settings(&text, "127.0.0.1:1").unwrap();
        assert!(ours.contains("127.0.0.1:1") && !ours.contains("15s"), "{ours}");
        assert!(settings("scrape_interval: 15s", "x").is_err());
    }

    #[test]
    fn what_is_no_number_is_no_point() {
        let found =
            serde_json::json!({"metric": {"a": "b"}, "values": [[1, "2.5"], [2, "NaN"], [3, "+Inf"]]});
        assert_eq!(series(&found).points, [(1.0, 2.5)]);
        assert_eq!(percent("a{b=~\"é\"}"), "a%7Bb%3D~%22%C3%A9%22%7D".replace('~', "%7E"));
    }
}
