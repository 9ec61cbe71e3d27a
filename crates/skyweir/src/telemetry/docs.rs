//! `docs/metrics.md`, made of the declarations.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
};

const HEAD: &str = "# Metrics\n\n\
    Made of the declarations by `UPDATE_DOCS=1 cargo test -p skyweir metrics_are_documented`; do not edit. All are at\n\
    `/metrics` of the admin port. Dashboards and alerts may use only these names.\n\n\
    | name | type | unit | meaning |\n| --- | --- | --- | --- |\n";

type Description = (&'static str, Option<Unit>, String);

/// Keeps descriptions, and nothing else.
#[derive(Default)]
struct Descriptions(Mutex<BTreeMap<String, Description>>);

impl Descriptions {
    fn keep(&self, name: &KeyName, kind: &'static str, unit: Option<Unit>, help: &SharedString) {
        let before = self.0.lock().unwrap().insert(name.as_str().to_owned(), (kind, unit, help.to_string()));
        assert!(before.is_none(), "{} is described twice", name.as_str());
    }
}

impl Recorder for Descriptions {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.keep(&name, "counter", unit, &help);
    }
    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.keep(&name, "gauge", unit, &help);
    }
    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.keep(&name, "histogram", unit, &help);
    }
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn metrics_are_documented() {
    let descriptions = Descriptions::default();
    with_local_recorder(&descriptions, super::describe);
    let mut wanted = HEAD.to_owned();
    for (name, (kind, unit, help)) in descriptions.0.into_inner().unwrap() {
        assert!(name.starts_with("skyweir_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let unit = unit.unwrap_or_else(|| panic!("{name} has no unit"));
        let help = help.trim_end_matches('.');
        writeln!(wanted, "| `{name}` | {kind} | {} | {help} |", unit.as_str()).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "docs/metrics.md is not up to date: run again with UPDATE_DOCS=1");
}
