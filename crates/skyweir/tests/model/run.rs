//! Runs the script of one seed against the service and the model.

use std::collections::BTreeMap;
use std::time::Duration;

use skyweir_testkit::{Model, Op, Script, Without};
use skyweir_types::{Clock, Did};

use crate::backend::{Backend, Kind};
use crate::coverage::Coverage;
use crate::judge::{self, Verdict, Walk};
use crate::servers::Servers;
use crate::service::Service;

/// When the service's own clock begins, microseconds since 1970.
const BEGIN_US: i64 = 1_790_000_000_000_000;
/// No walk takes more pages than this.
const PAGES_MOST: usize = 100_000;

/// How often a restart waits for the store.
const TRIES_MOST: u32 = 1_000;

/// One script under way.
struct Run<'c> {
    coverage: &'c Coverage,
    backend: Backend,
    script: Script,
    model: Model,
    clock: Clock,
    service: Option<Service>,
    walks: BTreeMap<Did, Walk>,
}

/// Runs the script of this seed.
pub(crate) fn seed(
    (kind, servers): (Kind, Option<&Servers>),
    seed: u64,
    operations: usize,
    coverage: &Coverage,
) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let script = Script::new(seed, operations);
        let settings = script.settings().clone();
        let mut backend = Backend::new(kind, &settings, servers).await;
        let clock = Clock::manual(BEGIN_US);
        let service =
            Service::start(&mut backend, &settings, &clock).await.map_err(|error| error.to_string())?;
        let model = Model::new(settings.across, settings.horizons);
        let mut run =
            Run { coverage, backend, script, model, clock, service: Some(service), walks: BTreeMap::new() };
        let mut number = 0;
        while let Some(op) = run.script.next() {
            number += 1;
            if let Err(what) = run.step(&op).await {
                return Err(format!("step {number}, {op:#?}\n{settings:#?}\n{what}"));
            }
        }
        run.end().await
    })
}

#[expect(clippy::needless_pass_by_value, reason = "its callers map errors")]
fn words(error: skyweir_store::Error) -> String {
    error.to_string()
}

impl Run<'_> {
    fn service(&mut self) -> &mut Service {
        self.service.as_mut().expect("there is one between two steps")
    }

    async fn step(&mut self, op: &Op) -> Verdict {
        match op {
            Op::Commit(messages) => {
                let swept = self.service().commit(messages).await.map_err(words)?;
                self.coverage.swept(swept);
                messages.iter().for_each(|message| self.model.message(message));
                self.model.end_group();
                self.walks.values_mut().for_each(Walk::forget);
                Ok(())
            }
            Op::Walk { viewer, limits, without } => self.walk(viewer, limits, *without, 1).await,
            Op::Page { viewer, limit, without } => self.page(viewer, *limit, *without).await,
            Op::Turns(n) => self.service().worker.turns(*n).await,
            Op::Settle => self.settle().await,
            Op::Pass(seconds) => {
                self.clock.advance_ms(i64::try_from(*seconds).unwrap() * 1_000);
                self.service().worker.pass(*seconds).await
            }
            Op::Checkpoint => self.service().worker.checkpoint().await,
            Op::Restart { clean } => self.restart(*clean).await,
        }
    }

    /// Walks to the end; between the pages the background may take some turns.
    async fn walk(&mut self, viewer: &Did, limits: &[i32], without: Without, turns: u32) -> Verdict {
        let limit_of_follows = self.script.settings().reasonable_limit;
        let mut walk = Walk::new(viewer.clone(), without);
        let service = self.service.as_mut().expect("there is one between two steps");
        for limit in limits.iter().cycle().take(PAGES_MOST) {
            if walk.page(service, &self.model, limit_of_follows, *limit, self.coverage).await? {
                return Ok(());
            }
            service.worker.turns(turns).await?;
        }
        Err(format!("the timeline of {viewer} does not end"))
    }

    async fn page(&mut self, viewer: &Did, limit: i32, without: Without) -> Verdict {
        let limit_of_follows = self.script.settings().reasonable_limit;
        let service = self.service.as_ref().expect("there is one between two steps");
        let begin = || Walk::new(viewer.clone(), without);
        let walk = self.walks.entry(viewer.clone()).or_insert_with(begin);
        if walk.page(service, &self.model, limit_of_follows, limit, self.coverage).await? {
            self.walks.remove(viewer);
        }
        Ok(())
    }

    /// The writer finishes; then nothing may be missing anywhere.
    async fn settle(&mut self) -> Verdict {
        let service = self.service();
        let view = service.view().await.map_err(words)?;
        service.worker.settle(view.next_task().await.map_err(words)?).await?;
        let accounted = service.worker.accounting(&*view).await.map_err(words)??;
        self.coverage.accounted(accounted);
        for did in self.script.accounts() {
            judge::graph(&*view, &self.model, &did).await.map_err(words)??;
            self.walk(&did, &[100], Without::default(), 0).await?;
        }
        Ok(())
    }

    async fn restart(&mut self, clean: bool) -> Verdict {
        let service = self.service.take().expect("there is one between two steps");
        self.coverage.hardship(service.worker.hardship());
        if clean {
            service.stop().await?
        } else {
            service.kill().await
        }
        self.service = Some(self.start().await?);
        self.model.restarted();
        self.coverage.restart();
        Ok(())
    }

    /// Begins where the stores stand. A checkpoint that a crash has cut off holds them for a moment longer.
    async fn start(&mut self) -> Verdict<Service> {
        let mut tries = 0;
        loop {
            match Service::start(&mut self.backend, self.script.settings(), &self.clock).await {
                Err(skyweir_store::Error::Unavailable(_)) if tries < TRIES_MOST => tries += 1,
                started => return started.map_err(words),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(mut self) -> Verdict {
        let service = self.service.take().expect("there is one between two steps");
        self.coverage.hardship(service.worker.hardship());
        service.stop().await?;
        self.backend.check()
    }
}
