//! A panel and its queries, and what Grafana reads of them.
//!
//! In a query `@` stands for the instances that are chosen above the dashboard, `[]` for the range of a rate.

use serde_json::{Value, json};

/// The width of a dashboard, in Grafana's units.
pub(super) const COLUMNS: u32 = 24;

const INSTANCE: &str = "instance=~\"$instance\"";
const RANGE: &str = "[$__rate_interval]";

/// How a panel looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A figure with its course.
    Tile,
    /// A line for each query: fine or behind through time.
    States,
    /// Curves.
    Lines,
    /// A headline over what stands below it.
    Text,
    /// A headline over the whole width.
    Row,
}

/// What is bad.
#[derive(Clone, Copy, Debug)]
enum Bad {
    Above(f64),
    Below(f64),
}

/// One panel.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) look: Look,
    pub(super) unit: &'static str,
    pub(super) queries: Vec<Query>,
    bad: Option<Bad>,
}

/// One query.
pub(super) struct Query {
    /// As Grafana gets it.
    pub(super) expr: String,
    pub(super) legend: &'static str,
    /// Why it may find nothing on a service that is well.
    pub(super) empty: Option<&'static str>,
}

/// A query, in the short form.
pub(super) fn query(expr: impl Into<String>, legend: &'static str) -> Query {
    let expr = expr.into().replace("[]", RANGE).replace('@', INSTANCE);
    Query { expr, legend, empty: None }
}

/// A quantile of a histogram whose labels match, for each value of the labels in `by`.
pub(super) fn quantile(quantile: f64, histogram: &str, labels: &str, by: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!("histogram_quantile({quantile}, sum by ({by}) (rate({histogram}_bucket{{{labels}}}[])))")
}

impl Query {
    pub(super) fn may_be_empty(mut self, why: &'static str) -> Self {
        self.empty = Some(why);
        self
    }
}

impl Panel {
    pub(super) fn new(look: Look, title: &'static str, unit: &'static str) -> Self {
        Self { title, about: "", look, unit, queries: Vec::new(), bad: None }
    }

    pub(super) fn text(title: &'static str, about: &'static str) -> Self {
        Self::new(Look::Text, title, "none").about(about)
    }

    pub(super) fn row(title: &'static str) -> Self {
        Self::new(Look::Row, title, "none")
    }

    /// What it shows, and what is normal.
    pub(super) fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    pub(super) fn bad_above(mut self, limit: f64) -> Self {
        self.bad = Some(Bad::Above(limit));
        self
    }

    pub(super) fn bad_below(mut self, limit: f64) -> Self {
        self.bad = Some(Bad::Below(limit));
        self
    }

    pub(super) fn with(mut self, query: Query) -> Self {
        self.queries.push(query);
        self
    }

    /// Width and height, in Grafana's units.
    pub(super) fn size(&self) -> (u32, u32) {
        match self.look {
            Look::Tile => (3, 4),
            Look::States => (COLUMNS, 9),
            Look::Lines => (6, 7),
            Look::Text => (6, 2),
            Look::Row => (COLUMNS, 1),
        }
    }

    /// The panel as Grafana reads it.
    pub(super) fn json(&self, id: usize, (x, y): (u32, u32)) -> Value {
        let (w, h) = self.size();
        let mut panel = json!({
            "id": id, "title": self.title, "gridPos": {"x": x, "y": y, "w": w, "h": h}, "type": self.kind(),
            "options": self.options(),
        });
        match self.look {
            Look::Row => {
                panel["collapsed"] = json!(false);
                panel["panels"] = json!([]);
            }
            Look::Text => {
                panel["title"] = json!("");
                panel["transparent"] = json!(true);
            }
            Look::Tile | Look::States | Look::Lines => {
                panel["description"] = json!(self.about);
                panel["datasource"] = source();
                panel["targets"] = self.targets();
                panel["fieldConfig"] = json!({"defaults": self.field(), "overrides": []});
            }
        }
        panel
    }

    fn kind(&self) -> &'static str {
        match self.look {
            Look::Tile => "stat",
            Look::States => "state-timeline",
            Look::Lines => "timeseries",
            Look::Text => "text",
            Look::Row => "row",
        }
    }

    fn targets(&self) -> Value {
        let target = |(query, name): (&Query, char)| {
            json!({
                "refId": name.to_string(), "expr": query.expr, "legendFormat": query.legend, "range": true,
                "datasource": source(),
            })
        };
        self.queries.iter().zip('A'..='Z').map(target).collect()
    }

    fn field(&self) -> Value {
        let custom = match self.look {
            Look::States => json!({"fillOpacity": 80, "lineWidth": 0}),
            Look::Lines => json!({
                "drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": false,
                "thresholdsStyle": {"mode": if self.bad.is_some() { "dashed" } else { "off" }},
            }),
            Look::Tile | Look::Text | Look::Row => json!({}),
        };
        let mut field = json!({
            "unit": self.unit, "custom": custom, "color": {"mode": self.color()}, "noValue": "none",
            "thresholds": {"mode": "absolute", "steps": self.steps()},
        });
        if self.look == Look::Lines {
            field["min"] = json!(0);
        }
        if self.look == Look::States {
            let states = json!({
                "0": {"text": "fine", "color": "green", "index": 0},
                "1": {"text": "behind", "color": "red", "index": 1},
            });
            field["mappings"] = json!([{"type": "value", "options": states}]);
        }
        field
    }

    fn color(&self) -> &'static str {
        if self.look == Look::Lines { "palette-classic" } else { "thresholds" }
    }

    fn steps(&self) -> Value {
        let step = |color, value: Option<f64>| json!({"color": color, "value": value});
        match self.bad {
            None => json!([step("green", None)]),
            Some(Bad::Above(limit)) => json!([step("green", None), step("red", Some(limit))]),
            Some(Bad::Below(limit)) => json!([step("red", None), step("green", Some(limit))]),
        }
    }

    fn options(&self) -> Value {
        let legend = json!({"displayMode": "list", "placement": "bottom", "showLegend": true});
        match self.look {
            Look::Tile => json!({
                "colorMode": "value", "graphMode": "area", "textMode": "value",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            }),
            Look::States => json!({
                "mergeValues": true, "showValue": "never", "rowHeight": 0.85, "alignValue": "left", "legend": legend,
                "tooltip": {"mode": "single"},
            }),
            Look::Lines => json!({"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}),
            Look::Text => {
                json!({"mode": "markdown", "content": format!("### {}\n{}", self.title, self.about)})
            }
            Look::Row => json!({}),
        }
    }
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}
