//! The binary as a child process: started, watched, asked, ended.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

pub(crate) mod cql;
pub(crate) mod cut;
pub(crate) mod disturbed;
pub(crate) mod freezer;

use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use skyweir_loadtest::{Event, Network, NetworkSpec, Upstream};
use skyweir_proto::skyweir::v1::GetTimelineRequest;
use skyweir_proto::skyweir::v1::timeline_service_client::TimelineServiceClient;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

/// No step of a test takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits for something that has to come.
pub(crate) async fn soon<T>(what: impl Debug, coming: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, coming).await;
    came.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what:?}"))
}

/// The binary, with nothing of this process's settings.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyweir"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("SKYWEIR_")) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs the binary to its end: exit code, standard output, standard error.
pub(crate) async fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = soon(args, binary().args(args).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// Sends a signal to a process of this number.
pub(crate) async fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status().await.unwrap();
    assert!(sent.success());
}

/// A running `skyweir serve`; killed when dropped.
pub(crate) struct Serve {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    /// What it has said that nobody has waited for: its parts are at work before it says where it serves.
    said: Vec<String>,
    pub(crate) grpc: String,
    pub(crate) admin: String,
}

impl Serve {
    /// Starts it and waits until it says where it serves.
    pub(crate) async fn start(dir: &Path, source: &str, more: &[&str]) -> Self {
        let mut command = binary();
        command
            .args(["serve", "--log-format", "json", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--source", source, "--data-dir"])
            .arg(dir)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (grpc, admin) = (String::new(), String::new());
        let mut serve = Self { child, lines, said: Vec::new(), grpc, admin };
        let line = serve.read("\"serving\"").await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        // without the role api nothing answers over gRPC
        let address = |name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
        (serve.grpc, serve.admin) = (address("grpc.addr"), address("admin.addr"));
        serve
    }

    /// A log line with this text in it: the next one, or one that nobody has waited for.
    pub(crate) async fn line(&mut self, text: &str) -> String {
        match self.said.iter().find(|line| line.contains(text)) {
            Some(line) => line.clone(),
            None => self.read(text).await,
        }
    }

    /// The next log line with this text in it.
    async fn read(&mut self, text: &str) -> String {
        loop {
            match soon(text, self.lines.next_line()).await.unwrap() {
                Some(line) if line.contains(text) => return line,
                Some(line) => self.said.push(line),
                None => panic!("it ended without {text}:\n{}", self.said.join("\n")),
            }
        }
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        signal(self.id(), name).await;
    }

    /// Waits for its end: exit code (-1 for a signal), and what it has said, but for what was waited for.
    pub(crate) async fn ended(mut self) -> (i32, String) {
        let mut rest = self.said.join("\n") + "\n";
        while let Some(line) = soon("the end", self.lines.next_line()).await.unwrap() {
            rest.push_str(&line);
            rest.push('\n');
        }
        let status = soon("the exit", self.child.wait()).await.unwrap();
        (status.code().unwrap_or(-1), rest)
    }

    /// Tells it to stop, and expects that it does so in peace.
    pub(crate) async fn stop(self) {
        self.signal("TERM").await;
        let (code, said) = self.ended().await;
        assert_eq!(code, 0, "{said}");
    }

    /// Status and body of a page of the admin port.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(path, stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Asks for a page until it is as it has to become.
    pub(crate) async fn until(&self, path: &str, holds: impl Fn(u16, &str) -> bool) -> String {
        soon(path, async {
            loop {
                let (status, body) = self.get(path).await;
                if holds(status, &body) {
                    return body;
                }
            }
        })
        .await
    }

    /// Waits until all events up to this time are applied and synced, and their tasks done.
    pub(crate) async fn applied(&self, time_us: u64) {
        self.applied_records(time_us).await;
        // asked again: the lag of the page above may be older than its stream time
        self.until("/metrics", |_, text| metric(text, "skyweir_writer_lag_tasks") == Some(0.0)).await;
    }

    /// Waits until all events up to this time are applied and synced.
    pub(crate) async fn applied_records(&self, time_us: u64) {
        // the gauge has seconds with a fraction: exact to a fraction of a microsecond
        let wanted = time_us as f64 / 1e6 - 1e-4;
        self.until("/metrics", |_, text| {
            metric(text, "skyweir_indexer_stream_time_seconds").is_some_and(|at| at >= wanted)
        })
        .await;
    }

    /// A whole timeline: the URIs of its items' own records, in order.
    pub(crate) async fn timeline(&self, did: &str) -> Vec<String> {
        let mut client = TimelineServiceClient::connect(format!("http://{}", self.grpc)).await.unwrap();
        let mut request = GetTimelineRequest { actor_did: did.to_owned(), limit: 100, ..Default::default() };
        let mut items = Vec::new();
        loop {
            let page = soon(did, client.get_timeline(request.clone())).await.unwrap().into_inner();
            let own = |item: skyweir_proto::skyweir::v1::TimelineItem| {
                if item.is_repost { item.repost } else { item.uri }
            };
            items.extend(page.items.into_iter().map(own));
            if page.cursor.is_empty() {
                return items;
            }
            request.cursor = page.cursor;
        }
    }
}

/// The value of a metric without labels.
pub(crate) fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A small network and its whole stream, with a post of actor 0 at the end.
pub(crate) fn network(events: u64) -> (Network, Vec<Event>) {
    let spec = NetworkSpec { seed: 5, actors: 60, mean_follows: 12.0, events, ..NetworkSpec::default() };
    let network = Network::new(spec).unwrap();
    let mut stream: Vec<Event> = network.events().collect();
    let last = stream.last().unwrap().time_us + 1_000_000;
    stream.push(post(&network.did(0), last, "end"));
    (network, stream)
}

/// A post.
pub(crate) fn post(did: &str, time_us: u64, key: &str) -> Event {
    let record = serde_json::json!({
        "$type": "app.bsky.feed.post",
        "createdAt": skyweir_loadtest::rfc3339_millis(time_us),
        "text": key,
    });
    Event::create(did, time_us, "app.bsky.feed.post", key, record)
}

/// A follow.
pub(crate) fn follow(did: &str, time_us: u64, subject: &str) -> Event {
    let record = serde_json::json!({
        "$type": "app.bsky.graph.follow",
        "createdAt": skyweir_loadtest::rfc3339_millis(time_us),
        "subject": subject,
    });
    Event::create(did, time_us, "app.bsky.graph.follow", &format!("f{time_us}"), record)
}

/// A fresh upstream.
pub(crate) async fn upstream() -> Upstream {
    Upstream::start(skyweir_loadtest::UpstreamConfig::default()).await.unwrap()
}
