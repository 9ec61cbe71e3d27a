//! `docs/performance.md`, made of the figures that are kept, and its plots.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::BARS;
use super::data::{Data, Part, Rows};
use super::figures::{self, number};
use super::plot;
use crate::run::root;

const HEAD: &str = "# Performance: how far from the bars

*This file is generated, as the plots beside it are: `cargo xtask bench --write` made them of the figures in
[performance.json](performance.json), which that command measured. Don't edit it. What the figures mean, and what was \
tried, is told in
[where the time goes](where-the-time-goes.md).*
";

/// Where the figures are kept.
pub(super) fn data_file() -> PathBuf {
    root().join("docs/performance.json")
}

/// Writes the page and draws all plots.
pub(super) fn write(data: &Data) -> Result<()> {
    let docs = root().join("docs");
    fs::create_dir_all(docs.join("plots"))?;
    for plot in data.parts.values().flat_map(|part| &part.plots) {
        plot::draw(plot, &docs.join("plots").join(format!("{}.svg", plot.name)))?;
    }
    let file = docs.join("performance.md");
    fs::write(&file, text(data)).with_context(|| file.display().to_string())?;
    println!("\nwritten: docs/performance.md, docs/performance.json, docs/plots");
    Ok(())
}

/// The whole page.
fn text(data: &Data) -> String {
    let mut page = HEAD.to_owned();
    if let Some(part) = data.parts.get(BARS) {
        page += "\n## The bars\n\n";
        page += &origin(part);
        page += &judged(part);
        page += "\n### Conditions\n";
        if part.runs > 1 {
            page += "\nAs the first run told them.\n";
        }
        sections(&mut page, part, "\n####");
        if !part.not_measured.is_empty() {
            page += "\n### Not measured\n\n";
            for absent in &part.not_measured {
                let _ = writeln!(page, "- {}: {}", absent.what, absent.why);
            }
        }
    }
    for (name, part) in data.parts.iter().filter(|(name, _)| *name != BARS) {
        let _ = writeln!(page, "\n## Study: {name}\n");
        page += &origin(part);
        if !part.figures.is_empty() {
            page += &judged(part);
        }
        sections(&mut page, part, "\n###");
    }
    page
}

/// Where figures come from.
fn origin(part: &Part) -> String {
    let Part { command, date, commit, rust, machine, scale, runs, .. } = part;
    let times =
        if *runs == 1 { "one run".to_owned() } else { format!("{runs} runs, each a process of its own") };
    let mut text =
        format!("`{command}`, {date}, scale {scale}, {times}: {machine}; {rust}; commit {commit}.\n");
    if *scale < 1.0 {
        text += "\n**The scale is below 1: this shows that it runs. It says nothing of the bars, which ask for scale \
                 1.**\n";
    }
    text
}

/// The figures that bars judge.
fn judged(part: &Part) -> String {
    let sum = figures::sum(&part.figures);
    format!(
        "\n{sum}. A figure is the median of the runs, with the least and the greatest; a bar counts as met when more \
         than half of the runs meet it. The ratio is the figure divided by what it is compared with.\n\n{}",
        table(part)
    )
}

fn table(part: &Part) -> String {
    let mut text =
        "| what | bar | figure | | compared with | ratio |\n| --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for figure in &part.figures {
        let cells =
            [figure.what.clone(), figure.limit(), figure.figure(), figure.verdict(), figure.comparison()];
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} | {} |", cells.join(" | "), figure.ratio());
    }
    text
}

/// Each bar's conditions and notes, tables and plots, under a heading.
fn sections(page: &mut String, part: &Part, heading: &str) {
    for bar in &part.bars {
        let _ = writeln!(page, "{heading} {}\n", bar.words);
        for note in &bar.notes {
            let _ = writeln!(page, "- {note}");
        }
        for rows in part.tables.iter().filter(|rows| rows.bar == bar.words) {
            page.push('\n');
            page.push_str(&plain(rows));
        }
        for plot in part.plots.iter().filter(|plot| plot.bar == bar.words) {
            let _ = writeln!(page, "\n![{}](plots/{}.svg)", plot.title, plot.name);
        }
    }
}

fn plain(rows: &Rows) -> String {
    let mut text = format!("| {} |\n|{}\n", rows.head.join(" | "), " --- |".repeat(rows.head.len()));
    for (name, cells) in &rows.rows {
        let cells: Vec<String> = cells.iter().map(|cell| number(*cell)).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::data::{Bar, Lines};
    use super::*;

    fn data() -> Data {
        let plot = Lines {
            bar: "how".into(),
            name: "a-plot".into(),
            title: "A plot".into(),
            x: "x".into(),
            y: "y".into(),
            log: (false, false),
            lines: vec![("line".into(), vec![(1.0, 1.0)])],
            level: None,
        };
        let mut part =
            Part { command: "cargo xtask bench --runs 3".into(), runs: 3, scale: 1.0, ..Part::default() };
        part.figures = vec![figures::tests::of(&[1.0, 3.0, 2.0])];
        let bars = vec![Bar { words: "how".into(), notes: vec!["conditions".into()] }];
        let tables = vec![Rows {
            bar: "how".into(),
            head: vec!["size".into(), "ns".into()],
            rows: vec![("10".into(), vec![1.5])],
        }];
        let figures = vec![figures::tests::of(&[7.0])];
        let study = Part { scale: 0.1, runs: 1, figures, bars, tables, plots: vec![plot], ..Part::default() };
        Data { parts: [(BARS.to_owned(), part), ("growth".to_owned(), study)].into() }
    }

    #[test]
    fn a_page_tells_figures_conditions_tables_and_plots() {
        let page = text(&data());
        for part in [
            "`cargo xtask bench --runs 3`",
            "3 runs, each a process of its own",
            "| w | ≤ 2.00 ms | 2.00 (1.00 to 3.00) | met (in 2 of 3) | 10.0 ms: c (measured) | 0.200 |",
            "1 of 1 figures meet their bar",
            "As the first run told them",
            "## Study: growth",
            "0 of 1 figures meet their bar",
            "| w | ≤ 2.00 ms | 7.00 | MISSED | 10.0 ms: c (measured) | 0.700 |",
            "- conditions",
            "| 10 | 1.50 |",
            "![A plot](plots/a-plot.svg)",
            "The scale is below 1",
        ] {
            assert!(page.contains(part), "{part} is missing:\n{page}");
        }
    }

    /// The page in the repository is what the kept figures make, names its command and links plots that are there.
    #[test]
    fn the_page_is_the_one_that_the_figures_make() {
        let docs = root().join("docs");
        let data = Data::load(&data_file()).unwrap();
        let page = fs::read_to_string(docs.join("performance.md")).unwrap();
        assert!(
            page == text(&data),
            "docs/performance.md isn't what docs/performance.json makes: it was edited by hand"
        );
        assert!(page.contains("`cargo xtask bench"), "it names no command");
        let links: Vec<&str> = page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert!(links.iter().any(|link| link.ends_with(".svg")), "it has no plots");
        for link in links {
            assert!(docs.join(link).is_file(), "{link} is missing");
        }
    }
}
