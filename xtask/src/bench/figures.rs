//! Figures of all runs: the median, how many runs met the bar, the ratio to what they are compared with.

use serde::{Deserialize, Serialize};

use crate::run::Table;

/// A figure as one process tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RawFigure {
    bar: String,
    what: String,
    value: f64,
    unit: String,
    sign: String,
    limit: f64,
    met: bool,
    compared: RawCompared,
}

#[derive(Clone, Debug, Deserialize)]
struct RawCompared {
    what: String,
    value: Option<f64>,
    measured: bool,
    official: Option<String>,
}

/// A figure of all runs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Figure {
    pub(super) bar: String,
    pub(super) what: String,
    pub(super) unit: String,
    sign: String,
    limits: Vec<f64>,
    values: Vec<f64>,
    met: u32,
    pub(super) compared: Compared,
}

/// What a figure is compared with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Compared {
    pub(super) what: String,
    /// One of each run, in the figure's unit; none if there is only a text.
    pub(super) values: Vec<f64>,
    /// Measured by the same command; else published.
    pub(super) measured: bool,
    /// The official data plane's quantile of the same name takes its place where that can be measured.
    pub(super) official: Option<String>,
}

/// Adds the figures of one more run.
pub(super) fn add(figures: &mut Vec<Figure>, found: Vec<RawFigure>) {
    for RawFigure { bar, what, value, unit, sign, limit, met, compared } in found {
        let at = figures.iter().position(|figure| figure.what == what).unwrap_or_else(|| {
            let RawCompared { what: beside, measured, official, .. } = compared.clone();
            let compared = Compared { what: beside, values: Vec::new(), measured, official };
            let (limits, values) = Default::default();
            figures.push(Figure { bar, what, unit, sign, limits, values, met: 0, compared });
            figures.len() - 1
        });
        let figure = &mut figures[at];
        figure.values.push(value);
        figure.limits.push(limit);
        figure.met += u32::from(met);
        figure.compared.values.extend(compared.value);
    }
}

impl Figure {
    /// Whether more than half of the runs met the bar.
    pub(super) fn is_met(&self) -> bool {
        self.met as usize * 2 > self.values.len()
    }

    /// What the bar asks for. It may hang on a measurement of the same run.
    pub(super) fn limit(&self) -> String {
        format!("{} {} {}", self.sign, number(median(&self.limits)), self.unit)
    }

    /// The median, with the least and the greatest if there are several.
    pub(super) fn figure(&self) -> String {
        let (least, most) = self
            .values
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(*value), most.max(*value)));
        match self.values.len() {
            1 => number(least),
            _ => format!("{} ({} to {})", number(median(&self.values)), number(least), number(most)),
        }
    }

    /// Met or missed, and how often.
    pub(super) fn verdict(&self) -> String {
        let word = if self.is_met() { "met" } else { "MISSED" };
        match self.values.len() {
            1 => word.to_owned(),
            runs => format!("{word} (in {} of {runs})", self.met),
        }
    }

    /// What it is compared with, its source and its figure.
    pub(super) fn comparison(&self) -> String {
        let Compared { what, values, measured, .. } = &self.compared;
        if values.is_empty() {
            return what.clone();
        }
        let source = if *measured { "measured" } else { "published" };
        format!("{} {}: {what} ({source})", number(median(values)), self.unit)
    }

    /// The figure divided by what it is compared with; how fair that is, the comparison tells.
    pub(super) fn ratio(&self) -> String {
        match self.compared.values.is_empty() {
            true => "–".to_owned(),
            false => number(median(&self.values) / median(&self.compared.values)),
        }
    }
}

/// Prints them as a table.
pub(super) fn print(figures: &[Figure]) {
    if figures.is_empty() {
        return;
    }
    let mut table = Table::new(&["what", "bar", "figure", "", "ratio", "compared with"]);
    for figure in figures {
        table.row([
            figure.what.clone(),
            figure.limit(),
            figure.figure(),
            figure.verdict(),
            figure.ratio(),
            figure.comparison(),
        ]);
    }
    println!();
    table.print();
    println!("{}", sum(figures));
}

/// How many there are, how many are met.
pub(super) fn sum(figures: &[Figure]) -> String {
    let met = figures.iter().filter(|figure| figure.is_met()).count();
    format!("{met} of {} figures meet their bar", figures.len())
}

/// The middle one; the lower of two.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// A number with three digits that count.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        at if at >= 10_000.0 => {
            let digits = format!("{:.0}", at);
            let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
            for (place, digit) in digits.chars().enumerate() {
                if place > 0 && (digits.len() - place) % 3 == 0 {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        at if at >= 100.0 => format!("{value:.0}"),
        at if at >= 10.0 => format!("{value:.1}"),
        at if at >= 1.0 || at == 0.0 => format!("{value:.2}"),
        at if at >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn of(values: &[f64]) -> Figure {
        let mut figures = Vec::new();
        for value in values {
            let raw = format!(
                r#"{{"bar":"b","what":"w","value":{value},"unit":"ms","sign":"≤","limit":2.0,"met":{},
                    "compared":{{"what":"c","value":10.0,"measured":true,"official":null}}}}"#,
                *value <= 2.0
            );
            add(&mut figures, vec![serde_json::from_str(&raw).unwrap()]);
        }
        assert_eq!(figures.len(), 1, "one figure, whatever the number of runs");
        figures.remove(0)
    }

    #[test]
    fn more_than_half_of_the_runs_decide() {
        assert!(of(&[1.0, 1.0, 1.0, 9.0, 9.0]).is_met() && !of(&[1.0, 1.0, 9.0, 9.0, 9.0]).is_met());
        assert!(!of(&[1.0, 9.0]).is_met(), "half is not more than half");
        assert_eq!(of(&[1.0, 9.0, 2.0]).verdict(), "met (in 2 of 3)");
    }

    #[test]
    fn a_figure_is_a_median_with_its_range_and_ratio() {
        let figure = of(&[1.0, 9.0, 2.0]);
        assert_eq!((figure.figure(), figure.ratio()), ("2.00 (1.00 to 9.00)".to_owned(), "0.200".to_owned()));
        assert_eq!(figure.comparison(), "10.0 ms: c (measured)");
        assert_eq!(of(&[1.0]).figure(), "1.00");
    }

    #[test]
    fn numbers_are_short() {
        let texts = [1_234_567.0, 123.4, 0.0, 0.1234, 0.001_234, -12_345.0].map(number);
        assert_eq!(texts, ["1,234,567", "123", "0.00", "0.123", "1.2e-3", "-12,345"]);
    }
}
