//! The service in one process is judged: from the beginning, after a kill, through the AppView, after a backfill.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::network::{Network, Row};
use super::{PATIENCE, compare, passed, still_serving, upstream};
use crate::run::{Group, Serve, ServeSpec, get};

/// One of those to whom much happens, and the one with the longest timeline.
const FEW: &str = "alice.test,x-hub.test";

/// A service with one way of enrolment.
pub(super) struct Embedded<'a> {
    network: &'a Network,
    work: PathBuf,
    mode: &'static str,
    spec: ServeSpec,
}

impl<'a> Embedded<'a> {
    /// Starts nothing yet.
    pub(super) fn new(network: &'a Network, binary: &Path, temp: &Path, mode: &'static str) -> Result<Self> {
        let work = temp.join(mode);
        fs::create_dir_all(&work)?;
        let spec = ServeSpec {
            binary: binary.to_path_buf(),
            data_dir: work.join("data"),
            source: network.firehose.clone(),
            cursor: "0".into(),
            enrol: mode.into(),
            grpc_port: 0,
            more: Vec::new(),
            env: Vec::new(),
            log: work.join("serve.log"),
        };
        Ok(Self { network, work, mode, spec })
    }

    /// Compares what came of the whole firehose, and what is there after a kill.
    pub(super) fn whole_firehose(&mut self, rows: &mut Vec<Row>) -> Result<()> {
        self.compare("from the beginning", rows)?;
        self.spec.cursor = "auto".into();
        self.spec.log = self.work.join("serve-again.log");
        self.compare("after kill -9", rows)
    }

    /// An AppView has a router before its data plane, which asks us for timelines. What users see before the network
    /// changes is looked at for few of them.
    pub(super) fn appview(&mut self, rows: &mut Vec<Row>) -> Result<()> {
        self.spec.log = self.work.join("serve-appview.log");
        let (mut serve, target) = self.serving()?;
        let what = format!("{}: appview", self.mode);
        let routed = ["appview.mjs", "--target", &target, "--users", FEW];
        rows.push(self.network.judge(&routed, &self.work, &what)?);
        still_serving(&mut serve)?;
        serve.kill();
        Ok(())
    }

    /// We are the AppView's whole data plane, and pass on what isn't ours.
    pub(super) fn appview_alone(&mut self, rows: &mut Vec<Row>) -> Result<()> {
        self.spec.more = upstream(self.network).into();
        self.spec.log = self.work.join("serve-alone.log");
        let (mut serve, target) = self.serving()?;
        let what = format!("{}: appview, us alone", self.mode);
        let alone = ["appview.mjs", "--alone", "--target", &target];
        rows.push(self.network.judge(&alone, &self.work, &what)?);
        still_serving(&mut serve)?;
        let (_, admin) = serve.addrs(PATIENCE)?;
        passed(&get(&admin, "/metrics")?.1)?;
        serve.kill();
        self.spec.more = Vec::new();
        Ok(())
    }

    /// Compares what came of the repositories. By now an account was deleted, and what it did before has left the
    /// firehose. Of a quiet network that tells again what it has kept: so once it is not asked for that, and the
    /// repositories have to suffice.
    pub(super) fn backfilled(&mut self, rows: &mut Vec<Row>) -> Result<()> {
        for (cursor, what) in [("auto", "a backfill"), ("live", "a backfill alone")] {
            self.spec.cursor = cursor.into();
            self.spec.data_dir = self.work.join(format!("data-backfilled-{cursor}"));
            self.spec.log = self.work.join(format!("serve-backfilled-{cursor}.log"));
            self.backfill(&self.work.join(format!("backfill-{cursor}.log")))?;
            self.compare(&format!("after {what}"), rows)?;
        }
        Ok(())
    }

    /// Starts it, compares all timelines, and kills it.
    fn compare(&self, what: &str, rows: &mut Vec<Row>) -> Result<()> {
        let (mut serve, target) = self.serving()?;
        let what = format!("{}: compare {what}", self.mode);
        rows.push(self.network.judge(&compare(&target), &self.work, &what)?);
        still_serving(&mut serve)?;
        serve.kill();
        Ok(())
    }

    /// A service that has caught up, and the URL of its gRPC port.
    fn serving(&self) -> Result<(Serve, String)> {
        let mut serve = Serve::start(&self.spec)?;
        serve.ready(PATIENCE)?;
        let (grpc, _) = serve.addrs(PATIENCE)?;
        Ok((serve, format!("http://{grpc}")))
    }

    /// Fills the service's data directory from the repositories of its source's host.
    fn backfill(&self, log: &Path) -> Result<()> {
        let ServeSpec { binary, source, data_dir, .. } = &self.spec;
        let host = source.split("/xrpc/").next().unwrap_or(source).replacen("ws", "http", 1);
        let mut command = Command::new(binary);
        command.args(["backfill", "--from", &host, "--items-since", "all", "--data-dir"]).arg(data_dir);
        let file = File::create(log)?;
        let status = Group::spawn(&command, file.try_clone()?.into(), file.into())?.wait(PATIENCE)?;
        ensure!(status.success(), "the backfill failed ({status}):\n{}", fs::read_to_string(log)?);
        Ok(())
    }
}
