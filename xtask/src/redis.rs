//! `cargo xtask redis`: a Redis for tests and benchmarks, on loopback, that appends to its file as one in use does.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::{Daemon, State, ask, hold, is_free, output, read, wait_for};

/// How tests find the server.
pub(crate) const VARIABLE: &str = "SKYWEIR_TEST_REDIS";

const NEEDS: &str = "needs redis-server: on Debian, apt-get install --no-install-recommends redis-server";
const PORT: u16 = 6379;
/// For the program to start, and to read its file.
const ANSWERED: Duration = Duration::from_secs(60);
const ENDED: Duration = Duration::from_secs(30);

/// What to do with the server of a home.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
    /// Where everything is kept; by default `skyweir-redis` in the system's temp folder.
    #[arg(long, global = true, env = "SKYWEIR_REDIS_HOME")]
    home: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Starts it if it isn't running, and prints SKYWEIR_TEST_REDIS=... when it answers.
    Up {
        /// Its port, on 127.0.0.1; 6379 by default.
        #[arg(long)]
        port: Option<u16>,
    },
    /// Stops it.
    Down {
        /// And removes its data.
        #[arg(long)]
        wipe: bool,
    },
    /// Kills it with SIGKILL.
    Kill,
    /// Starts it again where it was.
    Start,
    /// Tells where it is and whether it runs.
    Status,
}

/// Runs one of the commands.
pub(crate) fn run(options: &Options) -> Result<()> {
    let home = options.home.clone().unwrap_or_else(|| std::env::temp_dir().join("skyweir-redis"));
    let home = std::path::absolute(home)?;
    let found = || {
        Redis::find(&home)?.with_context(|| {
            format!("there is no Redis in {}: `cargo xtask redis up` makes one", home.display())
        })
    };
    match &options.command {
        Command::Up { port } => println!("{VARIABLE}={}", Redis::up(&home, *port, false)?.url()),
        Command::Down { wipe } => {
            if let Some(redis) = Redis::find(&home)? {
                redis.down(*wipe)?;
            }
        }
        Command::Kill => found()?.kill()?,
        Command::Start => found()?.start()?,
        Command::Status => match Redis::look(&home)? {
            Some(redis) => println!("{}", redis.status()),
            None => println!("no Redis in {}", home.display()),
        },
    }
    Ok(())
}

/// What has to be installed first, if anything.
pub(crate) fn missing() -> Option<String> {
    let mut command = Process::new("redis-server");
    command.arg("--version");
    let there = output(&command, ENDED).is_ok_and(|(status, _)| status.success());
    (!there).then(|| NEEDS.to_owned())
}

/// A server; while it is held, no other command changes it.
pub(crate) struct Redis {
    daemon: Daemon,
    port: u16,
    tied: bool,
    _held: Option<File>,
}

impl Redis {
    /// The server of this home, answering. A tied one ends with this process.
    pub(crate) fn up(home: &Path, port: Option<u16>, tied: bool) -> Result<Self> {
        let held = Some(hold(home)?);
        let (run, kept) = (home.join("run"), kept(home)?);
        if let (Some(port), Some(kept)) = (port, kept) {
            ensure!(
                port == kept,
                "there is another Redis (port {kept}): remove it first with `cargo xtask redis down --wipe`"
            );
        }
        let port = kept.or(port).unwrap_or(PORT);
        ensure!(port > 0, "--port 0 can't be: it has to be from 1 to 65535");
        fs::create_dir_all(&run)?;
        let redis = Self { daemon: Daemon::new(run), port, tied, _held: held };
        // before it is written down which port it has: that never changes
        redis.check_port()?;
        if let Some(why) = missing() {
            bail!(why);
        }
        fs::write(file(home), port.to_string())?;
        redis.start()?;
        Ok(redis)
    }

    /// The server that was made in this home, if there is one.
    pub(crate) fn find(home: &Path) -> Result<Option<Self>> {
        if kept(home)?.is_none() {
            return Ok(None);
        }
        let held = Some(hold(home)?);
        let daemon = Daemon::new(home.join("run"));
        // it may have gone while another command held it
        Ok(kept(home)?.map(|port| Self { daemon, port, tied: false, _held: held }))
    }

    /// The same for one who only looks, also while another command holds it.
    fn look(home: &Path) -> Result<Option<Self>> {
        let daemon = Daemon::new(home.join("run"));
        Ok(kept(home)?.map(|port| Self { daemon, port, tied: false, _held: None }))
    }

    fn addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Where it is, as tests take it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Nobody else may have its port while it is down.
    fn check_port(&self) -> Result<()> {
        let addr = self.addr();
        ensure!(
            self.daemon.state() != State::Down || is_free(addr),
            "{addr} is taken by another program: end that one, or make a Redis elsewhere with `cargo xtask redis down \
             --wipe` and `cargo xtask redis up --port P`"
        );
        Ok(())
    }

    /// Starts it, on the data that it has, and waits until it answers.
    pub(crate) fn start(&self) -> Result<()> {
        let addr = self.addr();
        if self.daemon.state() == State::Down {
            self.check_port()?;
            eprintln!("starting Redis on {addr}");
            let mut command = Process::new("redis-server");
            command.args(arguments(self.port, self.daemon.dir()));
            self.daemon.start(command, self.tied)?;
        }
        let answered = wait_for(&format!("Redis to answer on {addr}"), ANSWERED, || {
            ensure!(self.daemon.state() != State::Down, "Redis has ended");
            Ok(answers(addr))
        });
        answered.with_context(|| format!("Redis said last:\n{}", self.daemon.tail()))
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) -> Result<()> {
        self.daemon.kill()
    }

    /// How many bytes of writes it has appended to its file.
    pub(crate) fn appended(&self) -> Result<u64> {
        Ok(fs::metadata(appended_file(self.daemon.dir())?)?.len())
    }

    /// Takes from its file all but so many bytes, as if that hadn't come to the disk; it has to be down. How many bytes
    /// went.
    pub(crate) fn lose_tail(&self, kept: u64) -> Result<u64> {
        let file = File::options().write(true).open(appended_file(self.daemon.dir())?)?;
        let lost = file.metadata()?.len().saturating_sub(kept);
        if lost > 0 {
            file.set_len(kept)?;
        }
        Ok(lost)
    }

    /// Whether a consumer of a stream's group was given something there that it hasn't acknowledged.
    pub(crate) fn is_pending(&self, stream: &str, group: &str, consumer: &str) -> Result<bool> {
        is_pending(self.addr(), &format!("XPENDING {stream} {group} - + 1 {consumer}\r\n"))
    }

    fn status(&self) -> String {
        format!("{} {} {}", self.addr(), self.daemon.state(), self.daemon.about()).trim_end().to_owned()
    }

    /// Stops it. A wipe also removes its data, and so doesn't wait for an end in order.
    pub(crate) fn down(&self, wipe: bool) -> Result<()> {
        if !wipe {
            return self.daemon.stop(ENDED);
        }
        self.daemon.kill()?;
        let dir = self.daemon.dir();
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
    }
}

fn file(home: &Path) -> PathBuf {
    home.join("run/port")
}

/// The port of the server that was made here.
fn kept(home: &Path) -> Result<Option<u16>> {
    let file = file(home);
    let port = |text: String| text.parse().with_context(|| format!("{} is damaged", file.display()));
    read(&file)?.map(port).transpose()
}

/// Each write is appended to a file that is synced every second; no snapshots beside it.
fn arguments(port: u16, dir: &Path) -> Vec<String> {
    let port = port.to_string();
    let dir = dir.display().to_string();
    [
        ["--bind", "127.0.0.1"],
        ["--port", &port],
        ["--dir", &dir],
        ["--appendonly", "yes"],
        ["--appendfsync", "everysec"],
        ["--save", ""],
        ["--daemonize", "no"],
    ]
    .as_flattened()
    .iter()
    .map(|argument| (*argument).to_owned())
    .collect()
}

/// The file of a data folder to which writes are appended. It is the same over all starts, as long as it isn't written
/// anew, for which it is too short.
fn appended_file(dir: &Path) -> Result<PathBuf> {
    let dir = dir.join("appendonlydir");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".incr.aof") {
            files.push(path);
        }
    }
    match files.as_slice() {
        [file] => Ok(file.clone()),
        _ => bail!("{} has {} files of appended writes, not one", dir.display(), files.len()),
    }
}

/// Whether PING is answered by PONG; a server that still reads its file says so instead.
fn answers(addr: SocketAddr) -> bool {
    ask(addr, b"PING\r\n").is_ok_and(|said| said == *b"+PONG")
}

/// Whether the array that a question about one entry is answered by has one.
fn is_pending(addr: SocketAddr, question: &str) -> Result<bool> {
    match &ask(addr, question.as_bytes())? {
        b"*0" => Ok(false),
        b"*1" => Ok(true),
        other => bail!("to {question:?} Redis says {}…", other.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::against;

    #[test]
    fn it_appends_and_listens_on_loopback_only() {
        let line = arguments(7379, Path::new("/h/run")).join(" ");
        assert_eq!(
            line,
            "--bind 127.0.0.1 --port 7379 --dir /h/run --appendonly yes --appendfsync everysec --save  --daemonize no"
        );
    }

    #[test]
    fn only_pong_is_an_answer() {
        let of = |sent: &[u8]| against(6, sent, answers);
        assert_eq!(of(b"+PONG\r\n"), (b"PING\r\n".to_vec(), true));
        assert!(!of(b"-LOADING Redis is loading\r\n").1);
        assert!(!of(b"+P").1);
    }

    #[test]
    fn what_is_pending_is_an_array_of_one() {
        let of = |sent: &[u8]| against(2, sent, |addr| is_pending(addr, "X\n")).1;
        assert!(of(b"*1\r\n*4\r\n$3\r\n0-7\r\n").unwrap());
        assert!(!of(b"*0\r\n").unwrap());
        assert!(of(b"-NOGROUP No such key\r\n").unwrap_err().to_string().contains("-N"));
    }

    #[test]
    fn a_tail_is_lost() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("run/appendonlydir");
        fs::create_dir_all(&folder).unwrap();
        fs::write(file(home.path()), "7379").unwrap();
        let redis = Redis::find(home.path()).unwrap().unwrap();
        assert!(redis.appended().is_err(), "it never ran");
        fs::write(folder.join("appendonly.aof.1.base.rdb"), "REDIS").unwrap();
        fs::write(folder.join("appendonly.aof.1.incr.aof"), "*1 and more").unwrap();
        assert_eq!(redis.appended().unwrap(), 11);
        assert_eq!((redis.lose_tail(11).unwrap(), redis.lose_tail(2).unwrap()), (0, 9));
        assert_eq!(fs::read(folder.join("appendonly.aof.1.incr.aof")).unwrap(), b"*1");
        assert_eq!((redis.lose_tail(5).unwrap(), redis.appended().unwrap()), (0, 2), "it isn't made longer");
    }

    #[test]
    fn a_port_that_is_taken_makes_no_server() {
        let home = tempfile::tempdir().unwrap();
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let up = Redis::up(home.path(), Some(other.local_addr().unwrap().port()), true);
        let error = up.err().unwrap().to_string();
        assert!(error.contains("taken") && error.contains("up --port"), "{error}");
        assert!(Redis::find(home.path()).unwrap().is_none());
    }

    #[test]
    fn a_server_is_found_again_by_its_file() {
        let home = tempfile::tempdir().unwrap();
        assert!(Redis::find(home.path()).unwrap().is_none());
        fs::create_dir(home.path().join("run")).unwrap();
        fs::write(file(home.path()), "7379").unwrap();
        let redis = Redis::find(home.path()).unwrap().unwrap();
        assert_eq!(redis.url(), "redis://127.0.0.1:7379");
        assert_eq!(redis.status(), "127.0.0.1:7379 down");
        redis.down(true).unwrap();
        assert!(!home.path().join("run").exists());
        drop(redis);
        fs::create_dir(home.path().join("run")).unwrap();
        fs::write(file(home.path()), "many").unwrap();
        assert!(Redis::find(home.path()).is_err(), "a damaged file isn't no server");
    }
}
