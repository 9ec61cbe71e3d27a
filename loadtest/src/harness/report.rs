//! The outcome of a run: a summary for people, a JSON for programs, a plot.

use super::measure::{Sample, Summary};
use super::options::RunOptions;
use super::plot;
use super::pump::Speed;
use super::screen::{Screen, table};
use super::shared::Faults;
use super::steps::{Flatness, Step, Visible};
use super::visibility::WATCHED;
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
        self.failures().is_empty()
    }

    /// All that isn't as it has to be, in words.
    fn failures(&self) -> Vec<String> {
        let mut all: Vec<String> = self.failure.iter().cloned().collect();
        let Correctness { pages_checked, pages_wrong, .. } = self.correctness;
        if pages_wrong > 0 {
            all.push(format!("{pages_wrong} pages were wrong"));
        }
        if pages_checked == 0 {
            all.push("no page was compared: give a longer --duration or more --checked-readers".to_owned());
        }
        for step in &self.steps {
            // a service may refuse work; any other status means that something is broken
            let broken = step.errors.iter().filter(|(status, _)| *status != "Unavailable");
            all.extend(broken.map(|(status, count)| format!("{count} reads were answered {status}")));
            let never = step.celebrity.never + step.ordinary.never;
            if step.bent.is_none() && never > 0 {
                all.push(format!(
                    "{never} sampled followers didn't see a post within --visible-timeout, though nothing bent"
                ));
            }
        }
        all
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
        let Correctness { pages_checked, pages_wrong, timelines, faults } = &self.correctness;
        for fault in faults {
            screen.say(format_args!("WRONG {fault}"))?;
        }
        screen.say(format_args!(
            "{pages_checked} pages compared with what was sent, {pages_wrong} wrong; {timelines} of the timelines \
             whole, when all was quiet"
        ))?;
        for failure in self.failures() {
            screen.say(format_args!("FAILED {failure}"))?;
        }
        Ok(())
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
        if self.passed_over > 0 {
            screen.say(format_args!(
                "{} posts were not watched: {WATCHED} were watched already",
                self.passed_over
            ))?;
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

#[cfg(test)]
mod tests {
    use super::super::measure::Latencies;
    use super::super::options::tests::parse;
    use super::*;

    fn report() -> Report {
        Report {
            version: VERSION,
            network: crate::network::NetworkSpec::default(),
            readers: 1,
            reads_per_second: 1.0,
            graph: Speed::default(),
            history: Speed::default(),
            steps: vec![Step::new(1.0, Speed::default(), &Latencies::default(), &[], &[], 0, &parse(&[]))],
            flatness: Vec::new(),
            correctness: Correctness { pages_checked: 1, ..Correctness::default() },
            samples: Vec::new(),
            failure: None,
        }
    }

    #[test]
    fn whatever_fails_a_run_is_told() {
        assert!(report().good());
        let told = |change: fn(&mut Report)| {
            let mut report = report();
            change(&mut report);
            report.failures().join("; ")
        };
        assert_eq!(told(|report| report.failure = Some("it ended".to_owned())), "it ended");
        assert!(told(|report| report.correctness.pages_wrong = 2).contains("2 pages were wrong"));
        assert!(told(|report| report.correctness.pages_checked = 0).contains("no page was compared"));
        let errors = |report: &mut Report, status: &str| report.steps[0].errors.insert(status.to_owned(), 3);
        let mut refused = report();
        errors(&mut refused, "Unavailable");
        assert!(refused.good(), "it may refuse");
        errors(&mut refused, "Internal");
        assert_eq!(refused.failures(), ["3 reads were answered Internal"]);
        assert!(told(|report| report.steps[0].ordinary.never = 1).contains("1 sampled followers"));
    }
}
