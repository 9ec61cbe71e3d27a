//! A picture of the dashboard without Grafana: uPlot draws what the queries found, Chromium takes the picture.
//!
//! It proves layout, units and legends, not Grafana's own look.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::document;
use super::panel::Panel;
use super::prometheus::Series;
use crate::run::root;

/// The library that draws, which is also below Grafana's own panels.
const UPLOT: &str = "uplot@1.6.32";
const PAGE: &str = include_str!("page.html");

/// A panel, and for each query its legend and what it found.
pub(super) type Drawn<'a> = (&'a Panel, Vec<(&'static str, Vec<Series>)>);

/// Draws all panels between two times.
pub(super) fn draw(file: &Path, dir: &Path, drawn: &[Drawn<'_>], (from, to): (f64, f64)) -> Result<()> {
    let library = library()?;
    let read = |name: &str| {
        let file = library.join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(root().join(document::FILE))?)?;
    let panels: Vec<Value> = drawn.iter().map(found).collect();
    let data = json!({"dashboard": dashboard, "panels": panels, "from": from, "to": to});
    // a script ends at the first "</", also within a string
    let data = data.to_string().replace("</", "<\\/");
    let page = PAGE
        .replace("/* uPlot.css */", &read("uPlot.min.css")?)
        .replace("/* uPlot.js */", &read("uPlot.iife.min.js")?)
        .replace("/* data */", &data);
    let html = dir.join("dashboard.html");
    fs::write(&html, page)?;
    let rows = dashboard["panels"].as_array().into_iter().flatten();
    let depth =
        rows.filter_map(|panel| Some(panel["gridPos"]["y"].as_u64()? + panel["gridPos"]["h"].as_u64()?));
    let height = depth.max().unwrap_or(0) * 36 + 80;
    let file = std::path::absolute(file)?;
    let status = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--virtual-time-budget=10000",
        ])
        .arg(format!("--window-size=1800,{height}"))
        .arg(format!("--screenshot={}", file.display()))
        .arg(format!("file://{}", html.display()))
        .output()
        .context("cannot start chromium (apt-get install chromium)")?;
    ensure!(status.status.success() && file.is_file(), "{}", String::from_utf8_lossy(&status.stderr));
    println!("drawn: {}", file.display());
    Ok(())
}

fn found((_, queries): &Drawn<'_>) -> Value {
    let series = queries.iter().flat_map(|(legend, found)| {
        found
            .iter()
            .map(move |series| json!({"name": named(legend, &series.labels), "points": series.points}))
    });
    series.collect()
}

/// A legend with the labels of a series in it.
fn named(legend: &str, labels: &Value) -> String {
    let mut name = legend.to_owned();
    for (label, value) in labels.as_object().into_iter().flatten() {
        name = name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or_default());
    }
    name
}

/// The folder with uPlot, installed if it isn't there.
fn library() -> Result<PathBuf> {
    let dir = root().join("target/dashboard");
    let library = dir.join("node_modules/uplot/dist");
    if !library.is_dir() {
        fs::create_dir_all(&dir)?;
        let status = Command::new("npm").args(["install", "--no-save", UPLOT]).current_dir(&dir).status();
        ensure!(status.context("cannot start npm")?.success(), "npm doesn't install {UPLOT}");
    }
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legends_are_filled() {
        let labels = json!({"le": "1", "instance": "a:1"});
        assert_eq!(named("p99 {{instance}}", &labels), "p99 a:1");
    }
}
