//! A figure, what its bar asks for, and what it is compared with.

use serde_json::{Value, json};

/// What a bar asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// What a figure is compared with. A text alone (`"…".into()`) tells something and gives no ratio.
#[derive(Clone, Debug)]
pub(crate) struct Compared {
    text: String,
    /// In the claim's unit.
    value: Option<f64>,
    measured: bool,
    /// See [`Compared::or_official`].
    official: Option<&'static str>,
}

impl Compared {
    /// Something that ran in this same process, in the claim's unit.
    pub(crate) fn measured(what: &str, value: f64) -> Self {
        Self { text: what.to_owned(), value: Some(value), measured: true, official: None }
    }

    /// Something published, in the claim's unit; the text names its source.
    pub(crate) fn published(what: &str, value: f64) -> Self {
        Self { text: what.to_owned(), value: Some(value), measured: false, official: None }
    }

    /// `cargo xtask bench` puts this quantile (`p50`, `p99`) of the official data plane's GetTimeline in its place,
    /// where it can run that. In milliseconds.
    pub(crate) fn or_official(self, quantile: &'static str) -> Self {
        Self { official: Some(quantile), ..self }
    }
}

impl From<&str> for Compared {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), value: None, measured: false, official: None }
    }
}

/// One figure of a bar.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// What was measured, in the design's words; no other claim has the same.
    pub(crate) what: &'static str,
    /// The figure.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What the bar asks for.
    pub(crate) limit: Limit,
    /// What it is compared with.
    pub(crate) compared: Compared,
}

impl Claim {
    /// Whether the bar is met.
    pub(crate) fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtMost(most) => self.value <= most,
            Limit::AtLeast(least) => self.value >= least,
        }
    }

    /// The same in one line.
    pub(crate) fn line(&self) -> String {
        let Self { what, unit, compared, .. } = self;
        let (sign, limit) = self.limit();
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        let beside = match compared.value {
            Some(value) => {
                format!("{}: {} {unit}, ratio {}", compared.text, number(value), number(self.value / value))
            }
            None => compared.text.clone(),
        };
        format!(
            "{what}: {} {unit} (bar: {sign} {}): {verdict}; compared with {beside}",
            number(self.value),
            number(limit)
        )
    }

    /// The same for `cargo xtask bench`.
    pub(crate) fn json(&self, bar: &str) -> Value {
        let Self {
            what, value, unit, compared: Compared { text, value: beside, measured, official }, ..
        } = self;
        let (sign, limit) = self.limit();
        let compared = json!({ "what": text, "value": beside, "measured": measured, "official": official });
        json!({ "bar": bar, "what": what, "value": value, "unit": unit, "sign": sign, "limit": limit,
            "met": self.is_met(), "compared": compared })
    }

    fn limit(&self) -> (&'static str, f64) {
        match self.limit {
            Limit::AtMost(most) => ("≤", most),
            Limit::AtLeast(least) => ("≥", least),
        }
    }
}

/// A number with three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        at if at >= 10_000.0 => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (place, digit) in digits.chars().enumerate() {
                if place > 0 && (digits.len() - place) % 3 == 0 && !text.ends_with('-') {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        at if at >= 100.0 => format!("{value:.0}"),
        at if at >= 10.0 => format!("{value:.1}"),
        at if at >= 1.0 || at == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
