//! Who gets in at the nodes, and what is told whom they don't let in.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod node;

use std::path::Path;

use skyweir_scylla::{Cluster, Config};
use tempfile::tempdir;

use certificates::Authority;
use common::Servers;
use node::{IN, Node, PASSWORD, USER};

/// The address at which nodes are, and another one.
const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";

fn at(node: &Node) -> Config {
    Config { nodes: vec![node.address.clone()], ..Config::default() }
}

/// Why nothing came of it.
async fn told(config: &Config) -> String {
    let Err(error) = Cluster::connect(config).await else { panic!("a node that has nothing has our tables") };
    let told = error.to_string();
    assert!(!told.contains(PASSWORD), "{told}");
    told
}

/// That of a node without TLS.
async fn told_of(user: Option<&str>, file: Option<&Path>) -> (String, u32) {
    let node = Node::with_password(None).await;
    let (user, password_file) = (user.map(str::to_owned), file.map(Path::to_owned));
    let told = told(&Config { user, password_file, ..at(&node) }).await;
    (told.replace(&node.address, "NODE"), node.let_in())
}

#[tokio::test]
async fn a_role_logs_in_with_its_password() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let (told, let_in) = told_of(Some(USER), Some(&file)).await;
    assert!(told.contains(IN) && let_in > 0, "{told}");

    let refused = "storage is unavailable: no CQL node of NODE lets us in: ";
    let (told, let_in) = told_of(Some("somebody"), Some(&file)).await;
    let said = "username and/or password are incorrect; set scylla.user and scylla.password_file to those of a role \
                that may log in";
    assert_eq!((told, let_in), (format!("{refused}{said}"), 0));
    let (told, let_in) = told_of(None, None).await;
    let said = "a password is asked for; set scylla.user and scylla.password_file";
    assert_eq!((told, let_in), (format!("{refused}{said}"), 0));
}

#[tokio::test]
async fn a_file_that_holds_no_password_is_named() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("password");
    let of_file = format!("storage is unavailable: scylla.password_file is {}: ", file.display());
    let (told, _) = told_of(Some(USER), Some(&file)).await;
    let said = "No such file or directory (os error 2); expected a file that this user may read";
    assert_eq!(told, format!("{of_file}{said}"));
    std::fs::write(&file, format!("# ours\n{PASSWORD}\n")).unwrap();
    let (told, _) = told_of(Some(USER), Some(&file)).await;
    assert_eq!(told, format!("{of_file}expected 1 to 1024 bytes in one line, none of them NUL"));
    std::fs::write(&file, PASSWORD.repeat(100_000)).unwrap();
    let (told, _) = told_of(Some(USER), Some(&file)).await;
    assert_eq!(told, format!("{of_file}expected 1048576 bytes at most"));
}

#[tokio::test]
async fn whom_the_authority_has_signed_is_believed_at_its_address() {
    let dir = tempdir().unwrap();
    let (ours, others) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "others"));
    for (authority, name, tls_verify_address, said) in [
        (&ours, HERE, true, IN),
        (&ours, ELSEWHERE, false, IN),
        (&ours, ELSEWHERE, true, "or set scylla.tls_verify_address = false"),
        (&ours, "localhost", true, "or set scylla.tls_verify_address = false"),
        (&others, HERE, true, "set scylla.tls_ca to the certificate of who signed the node's"),
        (&others, HERE, false, "set scylla.tls_ca to the certificate of who signed the node's"),
    ] {
        let node = Node::open(Some(authority.sign(&[name]).node())).await;
        let config = Config { tls_ca: Some(ours.file.clone()), tls_verify_address, ..at(&node) };
        let told = told(&config).await;
        assert!(told.contains(said), "{name} {tls_verify_address}: {told}");
        assert_eq!(node.let_in() > 0, said == IN, "{name} {tls_verify_address}");
    }
}

#[tokio::test]
async fn a_password_goes_over_tls() {
    let dir = tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let node = Node::with_password(Some(ours.sign(&[HERE]).node())).await;
    let file = dir.path().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let (tls_ca, user, password_file) = (Some(ours.file.clone()), Some(USER.to_owned()), Some(file));
    let told = told(&Config { tls_ca, user, password_file, ..at(&node) }).await;
    assert!(told.contains(IN) && node.let_in() > 0, "{told}");
}

#[tokio::test]
async fn both_sides_speak_tls_or_none() {
    let dir = tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let node = Node::open(None).await;
    let said = told(&Config { tls_ca: Some(ours.file.clone()), ..at(&node) }).await;
    assert!(said.contains("if that port has no TLS, name the one that has in scylla.nodes"), "{said}");
    let node = Node::open(Some(ours.sign(&[HERE]).node())).await;
    let said = told(&at(&node)).await;
    assert!(said.ends_with("; if that port has TLS, set scylla.tls_ca"), "{said}");
    assert_eq!(node.let_in(), 0);
}

#[tokio::test]
async fn a_certificate_is_shown_where_one_is_asked_for() {
    let dir = tempdir().unwrap();
    let (ours, others) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "others"));
    let node = Node::open(Some(ours.sign(&[HERE]).asking_node(&ours))).await;
    let config = Config { tls_ca: Some(ours.file.clone()), ..at(&node) };
    let said = told(&config).await;
    assert!(said.contains("set scylla.tls_certificate and scylla.tls_key"), "{said}");
    for (authority, is_in) in [(&others, false), (&ours, true)] {
        let (certificate, key) = authority.sign(&["us"]).files(dir.path());
        let config = Config { tls_certificate: Some(certificate), tls_key: Some(key), ..config.clone() };
        let said = told(&config).await;
        assert_eq!((said.contains(IN), node.let_in() > 0), (is_in, is_in), "{said}");
        assert!(is_in || said.contains("set scylla.tls_certificate and scylla.tls_key"), "{said}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_certificate_is_named() {
    let dir = tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let (certificate, key) = ours.sign(&["us"]).files(dir.path());
    let (missing, other, other_dir) =
        (dir.path().join("missing"), dir.path().join("other"), tempdir().unwrap());
    let (_, others_key) = ours.sign(&["us"]).files(other_dir.path());
    std::fs::write(&other, "what is this\n").unwrap();
    let node = Node::open(Some(ours.sign(&[HERE]).node())).await;
    for (ca, shown, said) in [
        (&missing, None, format!("tls_ca is {}: No such file", missing.display())),
        (&other, None, format!("tls_ca is {}: expected certificates in PEM", other.display())),
        (&ours.file, Some((&missing, &key)), format!("tls_certificate is {}: No such", missing.display())),
        (&ours.file, Some((&certificate, &missing)), format!("tls_key is {}: No such", missing.display())),
        (&ours.file, Some((&certificate, &other)), format!("tls_key is {}: expected a key", other.display())),
        (
            &ours.file,
            Some((&certificate, &others_key)),
            "; expected the key of scylla.tls_certificate".into(),
        ),
    ] {
        let (tls_certificate, tls_key) = shown.map(|(file, key)| (file.clone(), key.clone())).unzip();
        let config = Config { tls_ca: Some(ca.clone()), tls_certificate, tls_key, ..at(&node) };
        let told = told(&config).await;
        assert!(told.starts_with("storage is unavailable: scylla.tls_") && told.contains(&said), "{told}");
    }
    assert_eq!(node.let_in(), 0);
}

#[test]
fn tables_are_made_over_tls() {
    // the tables are another test's as well
    let Some(servers) = Servers::find("store") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempdir().unwrap();
        let ours = Authority::new(dir.path(), "ours");
        let node = Node::before(&servers.config.nodes[0], ours.sign(&[HERE]).node()).await;
        let tls_ca = Some(ours.file.clone());
        let config = Config { tls_ca, nodes: vec![node.address.clone()], ..servers.config.clone() };
        Cluster::connect(&config).await.unwrap();
        // the first one tells of the cluster, statements go over others
        assert!(node.let_in() > 1);
    });
}
