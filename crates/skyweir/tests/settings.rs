//! What is refused before anything starts, and in which words.

mod common;

use common::{Serve, binary, run, upstream};
use skyweir_proto::bsky::service_client::ServiceClient;
use skyweir_proto::bsky::{GetTimelineRequest, PingRequest};

#[tokio::test]
async fn a_file_that_cannot_work_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("skyweir.toml");
    let file = file.to_str().unwrap();
    for (text, said) in [
        (
            "\n\n\n\n\n\ngrcp = \"127.0.0.1:7700\"\n",
            "cannot read FILE, line 7: unknown key \"grcp\", did you mean \"grpc\"?",
        ),
        (
            "[indexer]\n[indexer.source]\nqueu = 9\n",
            "cannot read FILE, line 3: unknown key \"queu\" in [indexer.source], did you mean \"queue\"?",
        ),
        (
            "[timeline]\ncap = \"many\"\n",
            "cannot read FILE, line 2: timeline.cap: invalid type: string \"many\", expected a whole number from 0 on",
        ),
        (
            "[api]\nupstream = \"https://plane\"\n",
            "cannot read FILE, line 2: api.upstream: \"https://plane\" is no use: expected http://HOST:PORT, without \
             TLS, path or password",
        ),
        (
            "grpc = \"127.0.0.1:7\"\n[api]\nupstream = \"http://127.0.0.1:7\"\n",
            "cannot use FILE, line 3: api.upstream is http://127.0.0.1:7, our own gRPC port: expected another data \
             plane",
        ),
        ("[timeline]\ncap = 0\n", "cannot use FILE, line 2: timeline.cap is 0: expected 1 to 65536"),
    ] {
        std::fs::write(file, text).unwrap();
        let data = dir.path().join("data");
        let (code, out, err) = run(&["serve", "--config", file, "--data-dir", data.to_str().unwrap()]).await;
        assert_eq!((code, out.as_str(), err), (1, "", format!("skyweir: {}\n", said.replace("FILE", file))));
        assert!(!data.exists(), "nothing was begun");
    }
    let (code, _, err) = run(&["serve", "--config", "none.toml"]).await;
    assert_eq!(
        (code, err.as_str()),
        (1, "skyweir: cannot read none.toml: No such file or directory (os error 2)\n")
    );
}

#[tokio::test]
async fn flags_are_checked_like_the_file() {
    let (code, _, err) = run(&["serve", "--cap", "0"]).await;
    assert_eq!(
        (code, err.as_str()),
        (1, "skyweir: cannot use the settings: --cap is 0: expected 1 to 65536\n")
    );
    for (args, named) in [(&["serve"][..], "SKYWEIR_CAP"), (&["serve", "--cap=70000"], "--cap")] {
        let said = binary().args(args).env("SKYWEIR_CAP", "70000").output().await.unwrap();
        let said = String::from_utf8(said.stderr).unwrap();
        let expected = format!("skyweir: cannot use the settings: {named} is 70000: expected 1 to 65536\n");
        assert_eq!(said, expected);
    }
    let (code, _, err) = run(&["serve", "--source", "http://example.com/"]).await;
    assert_eq!(code, 1);
    assert!(err.starts_with("skyweir: cannot use the settings: --source is no use: "), "{err}");
    let (code, _, err) = run(&["serve", "--cursor", "yesterday"]).await;
    assert_eq!(code, 2);
    assert!(err.contains("cursor \"yesterday\" is neither \"live\" nor \"auto\" nor a number"), "{err}");
    let (code, _, err) = run(&["serve", "--roles", "indexer,writr"]).await;
    assert_eq!(code, 2);
    assert!(err.contains("unknown role \"writr\", did you mean \"writer\"?"), "{err}");
    let (code, _, err) = run(&["serve", "--roles", "indexer"]).await;
    assert_eq!(code, 1);
    assert!(
        err.starts_with("skyweir: cannot use the settings: --roles is indexer: expected indexer,graph"),
        "{err}"
    );
}

#[tokio::test]
async fn a_file_that_is_not_there_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("lines.json"));
    let source = format!("file:{}", file.display());
    let (code, out, err) = run(&["serve", "--data-dir", data.to_str().unwrap(), "--source", &source]).await;
    let why = "No such file or directory (os error 2)";
    let said = format!("skyweir: cannot read the source {}: {why}\n", file.display());
    assert_eq!((code, out.as_str(), err), (1, "", said));
    std::fs::create_dir(&file).unwrap();
    let (code, _, err) = run(&["serve", "--data-dir", data.to_str().unwrap(), "--source", &source]).await;
    let why = "it is a directory, name a file in it";
    assert_eq!((code, err), (1, format!("skyweir: cannot read the source {}: {why}\n", file.display())));
    assert!(!data.exists(), "nothing was begun");
}

#[tokio::test]
async fn a_password_file_that_is_not_there_is_named_by_whoever_logs_in() {
    let dir = tempfile::tempdir().unwrap();
    let (file, password) = (dir.path().join("skyweir.toml"), dir.path().join("password"));
    let text = format!(
        "backend = \"scylla\"\n[scylla]\nuser = \"me\"\npassword_file = \"{}\"\n",
        password.display()
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (code, out, _) = run(&["schema", "--config", file]).await;
    assert_eq!(code, 0);
    assert!(out.starts_with("CREATE KEYSPACE"), "printing needs no password: {out}");
    let said = format!(
        "skyweir: storage is unavailable: scylla.password_file is {}: No such file or directory (os error 2); expected \
         a file that this user may read\n",
        password.display()
    );
    let ports = ["--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off", "--config", file];
    for args in [&["schema", "--apply", "--config", file][..], &[&["serve"][..], &ports].concat()] {
        let (code, _, err) = run(args).await;
        assert_eq!((code, err), (1, said.clone()), "{args:?}");
    }
}

#[tokio::test]
async fn a_data_directory_has_one_process() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &[]).await;
    let data = dir.path().to_str().unwrap();
    let told = format!(
        "skyweir: storage is unavailable: data directory {data} is in use by another process; stop that one, or \
         choose another directory\n"
    );
    let ports = ["--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off"];
    for args in [&[&["serve", "--data-dir", data][..], &ports].concat()[..], &["check", "--data-dir", data]] {
        let (code, _, err) = run(args).await;
        assert_eq!((code, err), (1, told.clone()));
    }
    assert_eq!(run(&["rings", "drop", "--data-dir", data]).await.0, 1);
    serve.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_flag() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    let taken = upstream.address().to_string();
    let data = dir.path().join("data");
    let args =
        ["serve", "--data-dir", data.to_str().unwrap(), "--source", &upstream.url_v2(), "--log", "off"];
    let (code, _, err) = run(&[&args[..], &["--grpc", &taken]].concat()).await;
    assert_eq!(code, 1);
    let said = format!("skyweir: cannot open the gRPC port {taken}; choose another with --grpc ADDR:PORT: ");
    assert!(err.starts_with(&said), "{err}");
    assert!(!data.exists(), "nothing was begun");
}

#[tokio::test]
async fn an_unknown_format_on_disk_is_refused() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    Serve::start(dir.path(), &upstream.url_v2(), &[]).await.stop().await;
    {
        let database = fjall::Database::builder(dir.path().join("db")).open().unwrap();
        let meta = database.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap();
        assert!(meta.get("format").unwrap().is_some(), "the format is kept elsewhere by now");
        meta.insert("format", 99_u32.to_be_bytes()).unwrap();
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    let data = dir.path().to_str().unwrap();
    let (code, _, err) =
        run(&["serve", "--data-dir", data, "--source", &upstream.url_v2(), "--log", "off"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("the data directory has format 99, this program reads formats 2 and 3"), "{err}");
}

#[tokio::test]
async fn an_upstream_answers_what_is_not_known_yet() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    // nobody listens on it
    let more = ["--upstream", "http://127.0.0.1:1", "--upstream-http", "1.1", "--backfill", "false"];
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &more).await;
    let note = "note: until all follows are known GetTimeline, GetFollowers and GetFollows are passed on to \
                http://127.0.0.1:1\n";
    let (_, ready) = serve.get("/readyz").await;
    assert!(ready.contains("note: no backfill: ") && ready.contains(note), "{ready}");
    let mut client = ServiceClient::connect(format!("http://{}", serve.grpc)).await.unwrap();
    let asked = GetTimelineRequest { actor_did: "did:plc:someone".into(), ..Default::default() };
    for refused in [client.get_timeline(asked).await.map(drop), client.ping(PingRequest {}).await.map(drop)] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        assert!(refused.message().contains("http://127.0.0.1:1 (api.upstream)"), "{refused}");
    }
    let (_, metrics) = serve.get("/metrics").await;
    let counted = "skyweir_api_passed_request_seconds_count{outcome=\"unreachable\"} 2\n";
    assert!(metrics.contains(counted), "{metrics}");
    serve.stop().await;
}
