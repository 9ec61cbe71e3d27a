//! A plot of a run: figures above each other over one axis of time, as SVG.

use super::measure::Sample;
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const PANEL: f64 = 130.0;
const GAP: f64 = 40.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 130.0;
/// Told apart with any eyes.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];
const FONT: &str = "font-family=\"sans-serif\" font-size=\"12\"";

struct Line {
    name: &'static str,
    value: fn(&Sample) -> Option<f64>,
}

struct Panel {
    title: &'static str,
    lines: &'static [Line],
}

const PANELS: &[Panel] = &[
    Panel {
        title: "Resident memory, MiB",
        lines: &[
            Line { name: "service", value: |sample| Some(sample.resident_bytes? / 1_048_576.0) },
            Line { name: "this program", value: |sample| Some(sample.own_resident_bytes? / 1_048_576.0) },
        ],
    },
    Panel {
        title: "Busy cores",
        lines: &[
            Line { name: "service", value: |sample| sample.cores },
            Line { name: "this program", value: |sample| sample.own_cores },
        ],
    },
    Panel {
        title: "Lag, seconds",
        lines: &[
            Line { name: "fan-out", value: |sample| Some(sample.lag_seconds) },
            Line { name: "indexing", value: |sample| sample.stream_lag_seconds },
        ],
    },
    Panel {
        title: "First page since it was due, ms",
        lines: &[
            Line { name: "p50", value: |sample| sample.read_p50_ms },
            Line { name: "p99", value: |sample| sample.read_p99_ms },
        ],
    },
    Panel {
        title: "References written a second",
        lines: &[Line { name: "", value: |sample| Some(sample.deliveries_per_second) }],
    },
    Panel {
        title: "Events sent a second",
        lines: &[Line { name: "", value: |sample| Some(sample.events_per_second) }],
    },
];

/// Draws the samples. Vertical lines mark where a phase begins.
pub(super) fn svg(title: &str, samples: &[Sample]) -> String {
    let height = GAP + PANELS.len() as f64 * (PANEL + GAP) + 10.0;
    let start = samples.first().map_or(0.0, |sample| sample.at);
    let length = samples.last().map_or(1.0, |sample| sample.at - start).max(1.0);
    let x = |at: f64| LEFT + (at - start) / length * (WIDTH - LEFT - RIGHT);
    let mut out = String::new();
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" {FONT}>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{title}</text>\n"
    );
    for (at, panel) in PANELS.iter().enumerate() {
        let top = GAP + at as f64 * (PANEL + GAP) + 8.0;
        draw(&mut out, panel, samples, top, &x);
    }
    let bottom = height - 18.0;
    for step in 0..=4 {
        let at = start + length * f64::from(step) / 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{bottom:.1}\" text-anchor=\"middle\">{at:.0} s</text>",
            x(at)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, panel: &Panel, samples: &[Sample], top: f64, x: &impl Fn(f64) -> f64) {
    let values = |line: &Line| samples.iter().filter_map(line.value).fold(0.0, f64::max);
    let most = round_up(panel.lines.iter().map(values).fold(0.0, f64::max));
    let y = |value: f64| top + PANEL * (1.0 - value.clamp(0.0, most) / most);
    let right = WIDTH - RIGHT;
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{:.1}\">{}</text>", top - 6.0, panel.title);
    for part in 0..=2 {
        let value = most * f64::from(part) / 2.0;
        let _ = write!(
            out,
            "<path d=\"M{LEFT} {0:.1}H{right}\" stroke=\"#ddd\"/>\n\
             <text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{value}</text>\n",
            y(value),
            LEFT - 6.0,
            y(value) + 4.0,
        );
    }
    let starts = samples.windows(2).filter(|pair| pair[0].phase != pair[1].phase);
    for (number, pair) in starts.enumerate() {
        let at = x(pair[1].at);
        let (anchor, beside) = if at > right - 60.0 { ("end", -3.0) } else { ("start", 3.0) };
        // phases may be short: their names take turns in height
        let name = top + 10.0 + 11.0 * (number % 3) as f64;
        let _ = write!(
            out,
            "<path d=\"M{at:.1} {top:.1}v{PANEL}\" stroke=\"#999\" stroke-dasharray=\"3 3\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#777\" font-size=\"10\" text-anchor=\"{anchor}\">{}</text>\n",
            at + beside,
            name,
            pair[1].phase,
        );
    }
    for (at, line) in panel.lines.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let mut path = String::new();
        let mut pen = 'M';
        for sample in samples {
            match (line.value)(sample) {
                Some(value) => {
                    let _ = write!(path, "{pen}{:.1} {:.1}", x(sample.at), y(value));
                    pen = 'L';
                }
                None => pen = 'M',
            }
        }
        let _ = write!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>\n",
            right + 10.0,
            top + 14.0 + 16.0 * at as f64,
            line.name,
        );
    }
}

/// The next of 1, 2, 5, 10, 20, 50, …, above or below 1.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let ten = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * ten);
    steps.into_iter().find(|step| *step >= value).unwrap_or(10.0 * ten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        for (value, round) in [(0.0, 1.0), (0.03, 0.05), (1.0, 1.0), (1.1, 2.0), (730.0, 1_000.0)] {
            assert!((round_up(value) - round).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn every_line_is_drawn() {
        let sample = |at: usize, phase: &str| Sample {
            at: at as f64,
            phase: phase.to_owned(),
            read_p99_ms: (at != 2).then_some(5.0),
            ..Sample::default()
        };
        let samples = [sample(0, "graph"), sample(1, "live"), sample(2, "live"), sample(3, "live")];
        let svg = svg("a & b", &samples);
        assert!(svg.contains("a &amp; b") && svg.ends_with("</svg>\n"));
        let lines: usize = PANELS.iter().map(|panel| panel.lines.len()).sum();
        assert_eq!(svg.matches("stroke-width").count(), lines);
        assert_eq!(svg.matches(">live<").count(), PANELS.len(), "one mark a panel");
        assert!(!svg.contains("NaN"));
    }
}
