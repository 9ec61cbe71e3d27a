//! A Redis of a test's own, to be killed.
#![allow(clippy::print_stdout, reason = "it says what it leaves out")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Ends with the test.
pub(crate) struct OwnRedis {
    port: u16,
    folder: PathBuf,
    child: Child,
}

impl OwnRedis {
    /// `None`, and a word about it, when there is no such program.
    pub(crate) fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("skyweir-news-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        match run(port, &folder) {
            Ok(child) => {
                let redis = Self { port, folder, child };
                redis.answers();
                Some(redis)
            }
            Err(error) => {
                let must = std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() == Ok("1");
                assert!(!must, "redis-server can't be run: {error}");
                println!("skipped: redis-server can't be run: {error}");
                None
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What is there now is there after the next start, and nothing that comes later.
    pub(crate) fn save(&self) {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        redis::cmd("SAVE").exec(&mut connection).unwrap();
    }

    /// From now on it takes nothing more, or does so again; what it has is read all the time.
    pub(crate) fn be_full(&self, is_full: bool) {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        let bytes = u8::from(is_full);
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut connection).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = run(self.port, &self.folder).unwrap();
        self.answers();
    }

    fn answers(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        let ping = || redis::cmd("PING").exec(&mut client.get_connection()?);
        for _ in 0..300_000 {
            if ping().is_ok() {
                return;
            }
            std::thread::yield_now();
        }
        panic!("the Redis of port {} never answered", self.port);
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        // it may be dead already
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn run(port: u16, folder: &PathBuf) -> std::io::Result<Child> {
    let port = port.to_string();
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
}
