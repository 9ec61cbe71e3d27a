//! The harness as a program: it passes a service that is right, and fails one that isn't.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod stub;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use stub::{Mischief, Stub};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

/// Nothing here takes longer, on any machine.
const LONG: Duration = Duration::from_secs(120);

/// A network small enough for a debug build.
const SMALL: &[&str] = &[
    "run",
    "--actors",
    "300",
    "--mean-follows",
    "8",
    "--history",
    "400",
    "--readers",
    "40",
    "--reads-per-second",
    "40",
    "--events-per-second",
    "60",
    "--celebrity-posts-every",
    "0.5",
    "--watch-one-in",
    "5",
    "--deeper",
    "0.5",
    "--page",
    "20",
    "--duration",
    "2.5",
];

/// Runs the harness against a stub; true if it was content, and all that it said.
async fn against(mischief: Mischief, more: &[&str]) -> (bool, String) {
    let mut stub = Stub::start(mischief).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(SMALL).args(more).args(["--api", &stub.api, "--admin", &stub.admin]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let run = async {
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        out.read_line(&mut said).await.unwrap();
        stub.read(said.trim().strip_prefix("the Jetstream is ").unwrap());
        out.read_to_string(&mut said).await.unwrap();
        child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
        (child.wait().await.unwrap().success(), said)
    };
    tokio::time::timeout(LONG, run).await.expect("it takes too long")
}

#[tokio::test(flavor = "multi_thread")]
async fn right_pages_pass_and_planted_faults_are_found() {
    let (right, doubled, missing, swapped, slipped) = tokio::join!(
        against(Mischief::None, &[]),
        against(Mischief::Doubles, &[]),
        against(Mischief::Omits, &[]),
        against(Mischief::Swaps, &[]),
        against(Mischief::Slips, &[]),
    );
    assert!(right.0, "{}", right.1);
    assert!(!right.1.contains("WRONG"), "{}", right.1);
    for ((content, said), reason) in [
        (doubled, "doubled: at://"),
        (missing, "missing: at://"),
        (swapped, "wrong order: at://"),
        (slipped, "its author is not followed"),
    ] {
        assert!(!content, "{reason} was not minded: {said}");
        assert!(said.contains("WRONG") && said.contains(reason), "no word of {reason}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_still_opening_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(SMALL).args(["--api", &api, "--admin", "127.0.0.1:1"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let run = async {
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = out.next_line().await.unwrap().unwrap();
        while !said.starts_with(&format!("nobody answers at {api} yet: waiting")) {
            said = out.next_line().await.unwrap().unwrap();
        }
        let _stub = Stub::at(&api, Mischief::None).await;
        // it gets on: its metrics are nowhere
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).await.unwrap();
        assert!(error.contains("nobody answers at the admin address"), "{error}");
    };
    tokio::time::timeout(LONG, run).await.expect("it takes too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_counts() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("run.json");
    // twice as many reads are due as one at a time can be
    let more = ["--in-flight", "1", "--reads-per-second", "20", "--deeper", "0", "--watch-one-in", "0"];
    let file = ["--celebrity-posts-every", "0", "--json", json.to_str().unwrap()];
    let overriding: Vec<&str> = more.into_iter().chain(file).collect();
    let (content, said) = against(Mischief::Dawdles, &overriding).await;
    assert!(content, "{said}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let step = &report["steps"][0];
    let figure = |name: &str, which: &str| step[name][which].as_f64().unwrap();
    assert!(figure("reads", "count") > 25.0, "{said}");
    assert!(figure("reads_sent", "p50") >= 100.0, "{said}");
    assert!(figure("reads", "p50") > 3.0 * figure("reads_sent", "p50"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_no_fast_answer() {
    assert!(SMALL.windows(2).any(|pair| pair == ["--readers", &stub::READERS.to_string()]));
    assert!(SMALL.windows(2).any(|pair| pair == ["--page", &stub::PAGE.to_string()]));
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("run.json");
    let (content, said) = against(Mischief::Refuses, &["--json", json.to_str().unwrap()]).await;
    assert!(content, "a service may refuse: {said}");
    assert!(said.contains("reads answered Unavailable"), "{said}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let step = &report["steps"][0];
    let (answered, refused) =
        (step["reads"]["count"].as_u64().unwrap(), step["errors"]["Unavailable"].as_u64().unwrap());
    assert!(
        refused > 20 && answered.abs_diff(refused) <= 1,
        "{answered} answered, {refused} refused: {said}"
    );
}

/// The service's program, beside the harness or built for release.
fn skyweir() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("skyweir");
    let release = beside.parent()?.with_file_name("release").join("skyweir");
    [beside, release].into_iter().find(|path| path.is_file())
}

#[tokio::test]
async fn the_real_service_is_right() {
    let Some(skyweir) = skyweir() else {
        assert!(std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() != Ok("1"), "skyweir is not built");
        println!("skipped: skyweir is not built (cargo build -p skyweir)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("run.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    // a low limit, so that the mass followers see a sample
    command.args(SMALL).args(["--reasonable-limit", "100", "--soak", "--skyweir"]).arg(&skyweir);
    command
        .arg("--json")
        .arg(&json)
        .arg("--data-dir")
        .arg(dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output()).await.expect("it takes too long").unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(report["correctness"]["pages_wrong"], 0);
    assert_eq!(report["correctness"]["timelines"], 40);
    assert!(report["steps"][0]["celebrity"]["last"]["count"].as_u64() > Some(0), "{said}");
    assert!(report["samples"].as_array().is_some_and(|samples| !samples.is_empty()));
    let svg = std::fs::read_to_string(dir.path().join("run.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
}
