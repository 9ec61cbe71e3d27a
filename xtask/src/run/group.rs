//! Child processes in groups of their own, so that nothing outlives the command that started it.

use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::now;

/// A child and all its descendants; killed when dropped.
pub(crate) struct Group {
    child: Child,
    gone: bool,
}

impl Group {
    /// Starts a command in a process group of its own. Where `setpriv` is installed, the child also gets a SIGTERM
    /// when this process dies without dropping anything (Ctrl-C, SIGKILL).
    pub(crate) fn spawn(command: &Command, stdout: Stdio, stderr: Stdio) -> Result<Self> {
        let child = wrap(command)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, gone: false })
    }

    /// The exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.gone |= status.is_some();
        Ok(status)
    }

    /// Waits until it ends by itself; kills it after `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let began = now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if began.elapsed() > patience {
                self.kill();
                anyhow::bail!("killed after {} s without an end", patience.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL to the child at once, then to its group.
    pub(crate) fn kill(&mut self) {
        if !self.gone {
            // the direct call is microseconds, where starting `kill` takes a millisecond; the child is waited for
            // only after the group got its signal: until then the group's number can't be used again
            let _ = self.child.kill();
            signal("KILL", &format!("-{}", self.child.id()));
            let _ = self.child.wait();
            self.gone = true;
        }
    }

    /// SIGTERM to the child alone, which ends its own children; after `patience` all are killed.
    pub(crate) fn terminate(&mut self, patience: Duration) {
        if !self.gone {
            signal("TERM", &self.child.id().to_string());
            let _ = self.wait(patience);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end: how it ended, and all that it printed. Killed after `patience`.
pub(crate) fn output(command: &Command, patience: Duration) -> Result<(ExitStatus, String)> {
    let mut file = tempfile::tempfile()?;
    let status = Group::spawn(command, file.try_clone()?.into(), file.try_clone()?.into())?.wait(patience)?;
    file.rewind()?;
    let mut said = Vec::new();
    file.read_to_end(&mut said)?;
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

/// Sends a signal to a process, or with a minus before its number to a group; one that is gone gets none.
pub(super) fn signal(name: &str, target: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), "--", target]).stderr(Stdio::null()).status();
}

/// The same command behind `setpriv --pdeathsig TERM`, which execs it.
pub(super) fn wrap(command: &Command) -> Command {
    let setpriv = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let mut wrapped = if setpriv {
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
        wrapped
    } else {
        Command::new(command.get_program())
    };
    wrapped.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    wrapped
}
