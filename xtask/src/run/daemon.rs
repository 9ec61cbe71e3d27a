//! Servers that outlive the command that starts them; a file with their process's number is how they are found again.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::group::{signal, wrap};
use super::{tail, wait_for};

/// How long a process may take to end after SIGKILL.
const KILLED: Duration = Duration::from_secs(20);

/// What has become of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Paused,
    Down,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Paused => "paused",
            Self::Down => "down",
        })
    }
}

/// A server with a folder of its own, in which are its files `pid` and `log`.
pub(crate) struct Daemon {
    dir: PathBuf,
}

impl Daemon {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it prints; begun anew by each start.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Its last lines.
    pub(crate) fn tail(&self) -> String {
        tail(&self.log())
    }

    /// Starts it in a process group of its own and returns at once. A tied one gets a SIGTERM when this process ends,
    /// where `setpriv` is installed.
    pub(crate) fn start(&self, mut command: Command, tied: bool) -> Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        let log = File::create(self.log())?;
        if tied {
            command = wrap(&command);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let pid = child.id();
        let kept = Stat::read(pid)
            .context("it has no line in /proc")
            .and_then(|stat| Ok(fs::write(self.dir.join("pid"), format!("{pid} {}\n", stat.began))?));
        if kept.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        kept.with_context(|| format!("cannot keep track of process {pid}"))
    }

    pub(crate) fn state(&self) -> State {
        self.process().map_or(State::Down, |(_, state)| state)
    }

    /// Its process's number and resident memory, for a person.
    pub(crate) fn about(&self) -> String {
        let Some((pid, _)) = self.process() else { return String::new() };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let mib = kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024;
        format!("pid {pid}, {mib} MiB")
    }

    /// SIGKILL; returns when it has ended.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal("KILL");
        self.gone(KILLED)
    }

    /// SIGSTOP; returns when it stands still.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal("STOP");
        wait_for("the process to stand still", KILLED, || Ok(self.state() != State::Up))
    }

    /// SIGCONT; returns when it goes on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal("CONT");
        wait_for("the process to go on", KILLED, || Ok(self.state() != State::Paused))
    }

    /// SIGTERM, also to a paused one; SIGKILL when it takes longer than `patience`.
    pub(crate) fn stop(&self, patience: Duration) -> Result<()> {
        self.signal("TERM");
        self.signal("CONT");
        if let Err(error) = self.gone(patience) {
            eprintln!("killing {}: {error:#}", self.dir.display());
            self.kill()?;
        }
        Ok(())
    }

    fn gone(&self, patience: Duration) -> Result<()> {
        wait_for("the process to end", patience, || Ok(self.state() == State::Down))
    }

    fn signal(&self, name: &str) {
        if let Some((pid, _)) = self.process() {
            signal(name, &pid.to_string());
        }
    }

    /// The process that was started; another one that has got its number since began at another time.
    fn process(&self) -> Option<(u32, State)> {
        let text = fs::read_to_string(self.dir.join("pid")).ok()?;
        let (pid, began) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        let stat = Stat::read(pid)?;
        (stat.began.to_string() == began && stat.state != State::Down).then_some((pid, stat.state))
    }
}

/// What the kernel tells of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: State,
    /// In clock ticks since the machine's start.
    began: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads a line of proc_pid_stat(5).
    fn parse(line: &str) -> Option<Self> {
        // the program's name is in parentheses and may hold any of them, and spaces
        let (_, rest) = line.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let letter = fields.next()?;
        let threads: u32 = fields.nth(16)?.parse().ok()?;
        let state = match letter {
            "T" | "t" => State::Paused,
            // its first thread ends before the others, which still have its memory and its ports
            "Z" | "X" if threads <= 1 => State::Down,
            _ => State::Up,
        };
        Some(Self { state, began: fields.nth(1)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let parsed = |state, threads| {
            let line =
                format!("7 (a) b) {state} 1 7 7 0 -1 4 5 6 7 8 9 10 11 12 20 0 {threads} 0 4711 99 3\n");
            Stat::parse(&line).map(|stat| (stat.state, stat.began))
        };
        assert_eq!(parsed("S", 30), Some((State::Up, 4711)));
        assert_eq!(parsed("T", 30), Some((State::Paused, 4711)));
        assert_eq!(parsed("Z", 1), Some((State::Down, 4711)));
        assert_eq!(parsed("Z", 2), Some((State::Up, 4711)), "it still ends");
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn a_process_is_paused_resumed_stopped_and_killed() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::new(dir.path().join("d"));
        assert_eq!((daemon.state(), daemon.about()), (State::Down, String::new()));
        let endless = || {
            let mut command = Command::new("tail");
            command.args(["-f", "/dev/null"]);
            command
        };
        daemon.start(endless(), true).unwrap();
        assert!(daemon.state() == State::Up && daemon.about().contains("MiB"));
        daemon.pause().unwrap();
        assert_eq!(daemon.state(), State::Paused);
        daemon.resume().unwrap();
        assert_eq!(daemon.state(), State::Up);
        daemon.pause().unwrap();
        daemon.stop(KILLED).unwrap();
        assert_eq!(daemon.state(), State::Down);
        daemon.start(endless(), false).unwrap();
        daemon.kill().unwrap();
        assert_eq!(daemon.state(), State::Down);
    }

    #[test]
    fn another_process_with_the_same_number_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::new(dir.path().to_path_buf());
        let me = std::process::id();
        let began = Stat::read(me).unwrap().began;
        fs::write(dir.path().join("pid"), format!("{me} {began}\n")).unwrap();
        assert_eq!(daemon.state(), State::Up);
        fs::write(dir.path().join("pid"), format!("{me} {}\n", began + 1)).unwrap();
        assert_eq!(daemon.state(), State::Down);
    }
}
