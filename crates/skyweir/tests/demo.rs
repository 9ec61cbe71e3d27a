//! The demo runs through, in a pipe as on a screen.

mod common;

use std::process::Stdio;

use common::{binary, run, soon};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

#[tokio::test]
async fn the_demo_shows_a_fan_out_and_what_was_sampled_out() {
    let (code, out, err) = run(&["demo", "--actors", "400", "--seed", "7"]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let posts =
        out.lines().filter(|line| line.starts_with("post ") && line.contains(" followers = ")).count();
    assert_eq!(posts, 10, "{out}");
    for part in [
        "all applied, each synced to disk",
        "so it is a sample at a rate of 0.1",
        "/app.bsky.feed.post/",
        "grpcurl -plaintext",
    ] {
        assert!(out.contains(part), "{part:?} is missing:\n{out}");
    }
}

#[tokio::test]
async fn a_kept_demo_runs_until_it_is_told_to_stop() {
    let mut demo = binary();
    let mut child = demo.args(["demo", "--actors", "200", "--keep"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut did = None;
    while let Some(line) = soon("the end of the demo", lines.next_line()).await.unwrap() {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words.get(1).is_some_and(|word| word == "timeline") {
            did = Some((words[2].clone(), words[4].clone()));
        }
        if line.starts_with("An AppView") {
            break;
        }
    }
    let (did, grpc) = did.unwrap();
    let (code, out, err) = run(&["timeline", &did, "--grpc", &grpc]).await;
    assert!(code == 0 && out.contains("at a rate of"), "{out}{err}");
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    assert_eq!(soon("the exit", child.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_demo_that_is_told_to_stop_half_way_stops_at_once() {
    let mut demo = binary();
    let mut child = demo.args(["demo", "--actors", "5000", "--keep"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = soon("the first act", lines.next_line()).await.unwrap() {
        if line.starts_with("== A network comes in") {
            break;
        }
    }
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    let mut rest = Vec::new();
    while let Some(line) = soon("the end", lines.next_line()).await.unwrap() {
        rest.push(line);
    }
    assert_eq!(soon("the exit", child.wait()).await.unwrap().code(), Some(0));
    assert!(rest.iter().any(|line| line == "SIGINT: stopping"), "{rest:?}");
}
