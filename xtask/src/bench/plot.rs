//! Plots as SVG: on a white panel, so that they can be read on light and dark pages.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::data::Lines;
use super::figures::number;

const SIZE: (u32, u32) = (980, 460);
/// The chart's width; what is left is the legend's, which would hide lines inside.
const CHART: u32 = 710;
const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(208, 215, 222);
const LEVEL: RGBColor = RGBColor(130, 80, 223);
/// Dark enough on white, and unlike in lightness, too.
const COLOURS: [RGBColor; 6] = [
    RGBColor(9, 105, 218),
    RGBColor(188, 76, 0),
    RGBColor(26, 127, 55),
    RGBColor(191, 57, 137),
    RGBColor(87, 96, 106),
    RGBColor(212, 167, 44),
];

/// Draws a plot into a file.
pub(super) fn draw(plot: &Lines, file: &Path) -> Result<()> {
    let points = || plot.lines.iter().flat_map(|(_, points)| points);
    ensure!(points().next().is_some(), "the plot {} has no points", plot.name);
    let x = range(points().map(|(x, _)| *x), plot.log.0);
    let y = range(points().map(|(_, y)| *y).chain(plot.level.iter().map(|(_, y)| *y)), plot.log.1);
    let drawn = match plot.log {
        (true, true) => on(plot, file, x.log_scale(), y.log_scale()),
        (true, false) => on(plot, file, x.log_scale(), y),
        (false, true) => on(plot, file, x, y.log_scale()),
        (false, false) => on(plot, file, x, y),
    };
    drawn.map_err(|error| anyhow!("the plot {} can't be drawn: {error}", plot.name))
}

/// From the least to the greatest, with some room; from zero where the axis isn't logarithmic.
fn range(values: impl Iterator<Item = f64>, log: bool) -> Range<f64> {
    let (least, most) =
        values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    match log {
        true => (least.max(1e-9) / 1.2)..(most.max(1e-9) * 1.2),
        false => 0.0..(most * 1.1).max(1e-9),
    }
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn on<X, Y>(plot: &Lines, file: &Path, x: X, y: Y) -> Drawn
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (chart, aside) = root.split_horizontally(CHART);
    let text = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&chart)
        .caption(&plot.title, text(19))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(74)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(&plot.x)
        .y_desc(&plot.y)
        .axis_desc_style(text(15))
        .label_style(text(13))
        .axis_style(INK)
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| short(*value))
        .draw()?;
    let mut legend = Vec::new();
    for ((name, points), colour) in plot.lines.iter().zip(COLOURS.iter().cycle()) {
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(2))?;
        legend.push((name, *colour));
    }
    if let Some((name, level)) = &plot.level {
        let xs = plot.lines.iter().flat_map(|(_, points)| points).map(|(x, _)| *x);
        let (least, most) = xs.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        chart.draw_series(DashedLineSeries::new(
            [(least, *level), (most, *level)],
            7,
            5,
            LEVEL.stroke_width(2),
        ))?;
        legend.push((name, LEVEL));
    }
    for ((name, colour), y) in legend.into_iter().zip((60..).step_by(24)) {
        aside.draw(&PathElement::new([(0, y), (18, y)], colour.stroke_width(3)))?;
        aside.draw(&Text::new(name.as_str(), (25, y - 7), text(12)))?;
    }
    root.present()?;
    Ok(())
}

/// A label of an axis: 10 k, 2 M.
fn short(value: f64) -> String {
    let trim = |value: f64, unit: &str| {
        let text = number(value);
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        format!("{text}{unit}")
    };
    match value.abs() {
        at if at >= 1e6 => trim(value / 1e6, " M"),
        at if at >= 1e4 => trim(value / 1e3, " k"),
        _ => trim(value, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        let texts = [0.0, 0.5, 3_000.0, 20_000.0, 2e6, 1_500_000.0].map(short);
        assert_eq!(texts, ["0", "0.5", "3000", "20 k", "2 M", "1.5 M"].map(String::from));
    }

    #[test]
    fn a_plot_names_its_axes_its_lines_and_its_level() {
        let dir = tempfile::tempdir().unwrap();
        for log in [(false, false), (true, false), (false, true), (true, true)] {
            let plot = Lines {
                bar: String::new(),
                name: "plot".into(),
                title: "The title".into(),
                x: "followers".into(),
                y: "seconds".into(),
                log,
                lines: vec![("one thread".into(), vec![(1.0, 2.0), (100.0, 3.0)])],
                level: Some(("the bar".into(), 1.0)),
            };
            let file = dir.path().join("plot.svg");
            draw(&plot, &file).unwrap();
            let svg = std::fs::read_to_string(&file).unwrap();
            for text in ["The title", "followers", "seconds", "one thread", "the bar", "polyline"] {
                assert!(svg.contains(text), "{text} is missing ({log:?})");
            }
        }
    }

    #[test]
    fn a_plot_without_points_is_refused() {
        let (bar, title, x, y) = Default::default();
        let plot =
            Lines { bar, name: "none".into(), title, x, y, log: (false, false), lines: vec![], level: None };
        assert!(draw(&plot, Path::new("never.svg")).is_err());
    }
}
