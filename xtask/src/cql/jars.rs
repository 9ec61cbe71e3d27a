//! What Cassandra needs to run: a Java 17, and its jars, which Maven fetches once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::output;

const POM: &str = include_str!("pom.xml");
const NEEDS: &str = "needs java 17 and mvn: on Debian 12, \
                     apt-get install --no-install-recommends openjdk-17-jre-headless maven";
/// Some 70 MB of jars, and as much again for Maven's own; for each of two attempts.
const FETCHED: Duration = Duration::from_secs(600);
const ANSWERED: Duration = Duration::from_secs(20);

/// Where the jars are.
pub(super) fn folder(home: &Path) -> PathBuf {
    home.join("lib")
}

/// What a person has to install first, if anything is missing.
pub(super) fn missing(home: &Path) -> Option<String> {
    java()
        .and_then(|_| if complete(home) { Ok(()) } else { mvn().map(drop) })
        .err()
        .map(|error| error.to_string())
}

/// The `java` of a Java 17: that of `JAVA_HOME`, the usual one, or another one that is installed.
pub(super) fn java() -> Result<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(home) = std::env::var_os("JAVA_HOME") {
        candidates.push(Path::new(&home).join("bin/java"));
    }
    candidates.push(PathBuf::from("java"));
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    candidates.extend(installed.map(|entry| entry.path().join("bin/java")));
    let found = candidates.into_iter().find(|java| {
        let mut command = Command::new(java);
        command.arg("-version");
        output(&command, ANSWERED).is_ok_and(|(_, said)| major(&said) == Some(17))
    });
    found.context(NEEDS)
}

fn mvn() -> Result<&'static str> {
    let mut command = Command::new("mvn");
    command.arg("-version");
    ensure!(output(&command, ANSWERED).is_ok_and(|(status, _)| status.success()), NEEDS);
    Ok("mvn")
}

/// The major version that `java -version` tells.
fn major(said: &str) -> Option<u32> {
    let (_, version) = said.split_once("version \"")?;
    version.split(['.', '"', '-']).next()?.parse().ok()
}

/// The jars of this pom are all there.
fn complete(home: &Path) -> bool {
    fs::read_to_string(folder(home).join("pom.xml")).is_ok_and(|pom| pom == POM)
}

/// Fetches the jars, if they aren't there.
pub(super) fn fetch(home: &Path) -> Result<()> {
    if complete(home) { Ok(()) } else { fetch_by(Command::new(mvn()?), home) }
}

/// Fetches them by this Maven, once more if that fails: what the first attempt has brought isn't fetched again.
fn fetch_by(mut mvn: Command, home: &Path) -> Result<()> {
    eprintln!("fetching Cassandra's jars with Maven: 150 MB, a minute or two, once");
    let (jars, pom, repository) = (folder(home), home.join("pom.xml"), home.join("maven"));
    match fs::remove_dir_all(&jars) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&jars)?,
    }
    fs::write(&pom, POM)?;
    // -C: what doesn't match its checksum isn't taken
    mvn.args(["-q", "-B", "-C", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
    mvn.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", jars.display()));
    mvn.arg(format!("-Dmaven.repo.local={}", repository.display()));
    if let Err(error) = attempt(&mvn) {
        eprintln!("{error:#}\nonce more");
        attempt(&mvn)?;
    }
    fs::remove_dir_all(&repository)?;
    // last, so that it tells that they are all there
    fs::rename(&pom, jars.join("pom.xml"))?;
    Ok(())
}

fn attempt(mvn: &Command) -> Result<()> {
    let (status, said) = output(mvn, FETCHED).context("fetching Cassandra's jars")?;
    if !status.success() {
        let lines: Vec<&str> = said.lines().collect();
        bail!(
            "Maven could not fetch Cassandra's jars ({status}); it needs Maven Central, or a mirror that its \
             settings.xml names:\n{}",
            lines[..lines.len().min(20)].join("\n")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_java_are_read() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(major("openjdk version \"17\" 2021-09-14"), Some(17));
        assert_eq!(major("java version \"1.8.0_292\""), Some(1));
        assert_eq!(major("openjdk version \"21-ea\""), Some(21));
        assert_eq!(major("sh: java: not found"), None);
    }

    #[test]
    fn jars_of_another_pom_do_not_count() {
        let home = tempfile::tempdir().unwrap();
        assert!(!complete(home.path()));
        fs::create_dir(folder(home.path())).unwrap();
        fs::write(folder(home.path()).join("pom.xml"), POM.replace("5.0.8", "5.0.7")).unwrap();
        assert!(!complete(home.path()));
        fs::write(folder(home.path()).join("pom.xml"), POM).unwrap();
        assert!(complete(home.path()));
    }

    #[test]
    fn a_fetch_that_fails_is_tried_once_more() {
        let home = tempfile::tempdir().unwrap();
        // each attempt makes one of two folders; with both there is nothing left to fetch
        let script = home.path().join("mvn");
        fs::write(
            &script,
            "cd \"$(dirname \"$0\")\"\necho \"$@\" >>told\nmkdir maven && exit 1\nmkdir maven/b",
        )
        .unwrap();
        let maven = || {
            let mut command = Command::new("sh");
            command.arg(&script);
            command
        };
        fetch_by(maven(), home.path()).unwrap();
        assert!(complete(home.path()) && !home.path().join("maven").exists());
        let told = fs::read_to_string(home.path().join("told")).unwrap();
        assert!(told.lines().count() == 2 && told.lines().all(|line| line.contains(" -C ")), "{told}");

        fs::write(&script, "echo no such host; exit 1").unwrap();
        let error = fetch_by(maven(), home.path()).unwrap_err().to_string();
        assert!(error.contains("no such host") && !complete(home.path()), "{error}");
    }
}
