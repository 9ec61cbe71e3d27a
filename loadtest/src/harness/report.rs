//! The outcome of a run: a summary for people, a JSON for programs, a plot.

use super::measure::{Sample, Summary};
use super::options::RunOptions;
use super::plot;
use super::pump::Speed;
use super::screen::{Screen, table};
use super::shared::Faults;
use super::steps::{Flatness, Step, Visible};
use anyhow::Context;
use serde::Serialize;

/// The form of the JSON; a change that a reader has to know of raises it.
const VERSION: u32 = 1;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) network: crate::network::NetworkSpec,
    pub(super) readers: u32,
    pub(super) reads_per_second: f64,
    pub(super) graph: Speed,
    pub(super) history: Speed,
    pub(super) steps: Vec<Step>,
    pub(super) flatness: Vec<Flatness>,
    pub(super) correctness: Correctness,
    pub(super) samples: Vec<Sample>,
    /// Why the run ended before its time, if it did.
    pub(super) failure: Option<String>,
}

/// Whether what was read is right.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Correctness {
    /// Pages that were compared with what was sent.
    pub(super) pages_checked: u64,
    /// Pages with a fault.
    pub(super) pages_wrong: u64,
    /// Whole timelines that were compared when all was quiet.
    pub(super) timelines: usize,
    /// The first faults, in words.
    pub(super) faults: Vec<String>,
}

impl Correctness {
    pub(super) fn new(faults: Faults, timelines: usize) -> Self {
        Self { pages_checked: faults.checked, pages_wrong: faults.wrong, timelines, faults: faults.told }
    }
}

impl Report {
    pub(super) const VERSION: u32 = VERSION;

    /// Whether everything that was read is right, and something was compared.
    pub(super) fn good(&self) -> bool {
        let read_errors = |step: &Step| step.errors.keys().any(|status| status != "Unavailable");
        let never = |step: &Step| step.celebrity.never + step.ordinary.never > 0;
        self.failure.is_none()
            && self.correctness.pages_wrong == 0
            && self.correctness.pages_checked > 0
            && !self.steps.iter().any(|step| read_errors(step) || (step.bent.is_none() && never(step)))
    }

    /// Writes JSON and plot, if they are wanted.
    pub(super) fn save(&self, options: &RunOptions, screen: &Screen) -> anyhow::Result<()> {
        let (Some(json), Some(svg)) = (&options.json, options.svg()) else { return Ok(()) };
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(json, text).with_context(|| format!("writing {}", json.display()))?;
        let title = format!(
            "{} accounts, {} events a second, {} reads a second",
            options.network.actors, options.events_per_second, options.reads_per_second
        );
        std::fs::write(&svg, plot::svg(&title, &self.samples))
            .with_context(|| format!("writing {}", svg.display()))?;
        screen.say(format_args!("figures: {}, plot: {}", json.display(), svg.display()))
    }

    /// The summary.
    pub(super) fn say(&self, screen: &Screen) -> anyhow::Result<()> {
        let speed = |name: &str, speed: &Speed| {
            vec![
                name.to_owned(),
                speed.events.to_string(),
                format!("{:.1}", speed.seconds),
                format!("{:.0}", speed.per_second),
            ]
        };
        let rows = [speed("graph", &self.graph), speed("history", &self.history)];
        screen.say(format_args!("\n{}\n", table(&["applied", "events", "seconds", "a second"], &rows)))?;
        for step in &self.steps {
            step.say(screen)?;
        }
        if !self.flatness.is_empty() {
            let rows: Vec<_> = self
                .flatness
                .iter()
                .map(|one| {
                    let verdict = if one.flat { "flat" } else { "RISING" };
                    let figures = [one.first_quarter, one.last_quarter].map(|figure| format!("{figure:.2}"));
                    let [first, last] = figures;
                    vec![format!("{}, {}", one.what, one.unit), first, last, verdict.to_owned()]
                })
                .collect();
            screen
                .say(format_args!("{}\n", table(&["course", "first quarter", "last quarter", ""], &rows)))?;
        }
        if let Some(failure) = &self.failure {
            screen.say(format_args!("FAILED {failure}"))?;
        }
        let Correctness { pages_checked, pages_wrong, timelines, faults } = &self.correctness;
        for fault in faults {
            screen.say(format_args!("WRONG {fault}"))?;
        }
        screen.say(format_args!(
            "{pages_checked} pages compared with what was sent, {pages_wrong} wrong; {timelines} of the timelines whole, when all was quiet"
        ))
    }
}

impl Step {
    fn say(&self, screen: &Screen) -> anyhow::Result<()> {
        screen.say(format_args!(
            "live: {:.0} events a second wanted, {:.0} sent; {:.0} references written a second; lag at most {:.2} s",
            self.pace, self.sent.per_second, self.deliveries_per_second, self.lag_seconds
        ))?;
        if let (Some(cores), Some(resident)) = (self.cores, self.resident_bytes) {
            screen.say(format_args!(
                "service: {cores:.2} cores on average, {:.0} MiB resident at most",
                resident / 1_048_576.0
            ))?;
        }
        let row = |name: &str, times: &Summary| {
            let figures = [times.p50, times.p90, times.p99, times.max].map(|ms| format!("{ms:.2}"));
            [vec![name.to_owned(), times.count.to_string()], figures.to_vec()].concat()
        };
        let mut rows = vec![
            row("first page, since due", &self.reads),
            row("first page, since sent", &self.reads_sent),
            row("further page", &self.deeper),
            row("own delay, reads", &self.reads_late),
            row("own delay, events", &self.events_late),
        ];
        let visible = |name: &str, visible: &Visible| {
            [("first", visible.first), ("median", visible.median), ("last", visible.last)]
                .map(|(which, times)| row(&format!("{name} seen by {which} sampled follower"), &times))
        };
        rows.extend(visible("celebrity post", &self.celebrity));
        rows.extend(visible("ordinary post", &self.ordinary));
        screen.say(table(&["milliseconds", "count", "p50", "p90", "p99", "max"], &rows))?;
        let never = self.celebrity.never + self.ordinary.never;
        if never > 0 {
            screen.say(format_args!("NEVER seen within the time limit: {never}"))?;
        }
        if self.reads_late.p99 > self.reads_sent.p99 {
            screen.say(
                "the first pages' delay is more this program's own than the service's: the machine is busy",
            )?;
        }
        if self.reads_unsent > 0 {
            screen.say(format_args!("{} reads were due and could not be sent", self.reads_unsent))?;
        }
        for (status, count) in &self.errors {
            screen.say(format_args!("{count} reads answered {status}"))?;
        }
        match &self.bent {
            Some(bent) => screen.say(format_args!(
                "BENT at {:.0} events a second: {}, {:.0} s into the run\n",
                self.pace, bent.what, bent.at
            )),
            None => screen.say("nothing bent\n"),
        }
    }
}
