//! `cargo xtask mutants`: known bugs, applied one at a time, each of which a test has to notice.
//!
//! A mutant is `xtask/mutants/NAME.patch`: comment lines, one of them `# kills-with: cargo test …`, another one
//! `# needs: redis` where that test talks to one, then a patch against the workspace. The tree is copied first, so that
//! the working copy is never touched; all mutants share the builds in `target/mutants`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::ci::Servers;
use crate::run::{Group, Table, now, root};

/// Longer than a build or a test of a mutant may take.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Which mutants.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only those whose file name contains this.
    name: Option<String>,
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    Survived,
    /// The change doesn't compile, so no test has judged it.
    Broken,
    /// The test came to no end, so nobody would have been told.
    Hung,
    /// What its test needs isn't there, so that the test would have judged nothing.
    Skipped,
}

impl Fate {
    /// Whether no test has failed to notice it.
    fn is_good(self) -> bool {
        matches!(self, Self::Killed | Self::Skipped)
    }
}

/// Runs them; an error when one survives. Those that need a Redis where there is none are skipped, which is an error
/// where everything is required.
pub(crate) fn run(options: &Options) -> Result<()> {
    let patches = patches(options.name.as_deref())?;
    let texts = patches.iter().map(fs::read_to_string).collect::<std::io::Result<Vec<_>>>()?;
    let needs = texts.iter().map(|text| needs_redis(text)).collect::<Result<Vec<_>>>()?;
    let mut servers = if needs.contains(&true) { Servers::redis()? } else { Servers::default() };
    let temp = tempfile::Builder::new().prefix("skyweir-mutants-").tempdir()?;
    let tree = temp.path().join("tree");
    copy_tree(&tree)?;
    let mut table = Table::new(&["mutant", "fate", "seconds", "killed by"]);
    let mut bad = 0;
    for ((patch, text), needs_redis) in patches.iter().zip(&texts).zip(needs) {
        let name = patch.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        println!("mutant {name}");
        let began = now();
        let test = says(text, "kills-with");
        let test = test.with_context(|| format!("{name}: no line \"# kills-with: COMMAND\""))?;
        let fate = if needs_redis && !servers.has_redis() {
            Fate::Skipped
        } else {
            judge(&tree, patch, &test, &servers.variables()).with_context(|| name.clone())?
        };
        bad += usize::from(!fate.is_good());
        table.row([
            name,
            format!("{fate:?}").to_lowercase(),
            format!("{:.1}", began.elapsed().as_secs_f64()),
            test,
        ]);
    }
    table.print();
    servers.down()?;
    ensure!(bad == 0, "{bad} of {} mutants were not killed by a test", patches.len());
    Ok(())
}

/// Whether all mutants still apply to the workspace as it is.
pub(crate) fn check() -> Result<()> {
    for patch in patches(None)? {
        let output =
            Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(root()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} does not apply: {said}", patch.display());
    }
    Ok(())
}

/// The patches whose file names contain `part`, in order.
fn patches(part: Option<&str>) -> Result<Vec<PathBuf>> {
    let mut patches: Vec<PathBuf> =
        fs::read_dir(root().join("xtask/mutants"))?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    patches.retain(|path| {
        let name = path.display().to_string();
        name.ends_with(".patch") && part.is_none_or(|part| name.contains(part))
    });
    patches.sort();
    ensure!(!patches.is_empty(), "no mutants in xtask/mutants");
    Ok(patches)
}

/// What a comment line of this name says: of `kills-with`, the command that has to fail.
fn says(patch: &str, name: &str) -> Option<String> {
    let said =
        |line: &str| Some(line.strip_prefix("# ")?.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
    patch.lines().find_map(said)
}

/// Whether the test of a mutant talks to a Redis.
fn needs_redis(patch: &str) -> Result<bool> {
    match says(patch, "needs").as_deref() {
        None => Ok(false),
        Some("redis") => Ok(true),
        Some(other) => bail!("a mutant needs {other:?}, which nobody here can bring up"),
    }
}

fn judge(tree: &Path, patch: &Path, test: &str, env: &[(&str, String)]) -> Result<Fate> {
    apply(tree, patch, false)?;
    let log = tree.with_extension("log");
    let build = format!("{} --no-run", test.split(" -- ").next().unwrap_or(test));
    let built = shell(tree, &build, env, &log, PATIENCE)?;
    let fate = if built.is_some_and(|status| status.success()) {
        match shell(tree, test, env, &log, PATIENCE)? {
            Some(status) if status.success() => Fate::Survived,
            Some(_) => Fate::Killed,
            None => Fate::Hung,
        }
    } else {
        println!("{}", fs::read_to_string(&log).unwrap_or_default());
        Fate::Broken
    };
    apply(tree, patch, true)?;
    Ok(fate)
}

fn apply(tree: &Path, patch: &Path, back: bool) -> Result<()> {
    let mut command = Command::new("git");
    command.arg("apply").args(back.then_some("-R")).arg(patch).current_dir(tree);
    // also inside another repository the tree is patched as plain files
    let output = command.env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree)).output()?;
    if !output.status.success() {
        bail!("the patch does not apply: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Runs a line to its end, what it says into a file; `None` if it came to no end and was killed.
fn shell(
    tree: &Path,
    line: &str,
    env: &[(&str, String)],
    log: &Path,
    patience: Duration,
) -> Result<Option<ExitStatus>> {
    let mut command = Command::new("bash");
    command.args(["-c", line]).current_dir(tree).envs(env.iter().map(|(name, value)| (name, value)));
    command.env("CARGO_TARGET_DIR", root().join("target/mutants"));
    if std::env::var_os("SKYWEIR_SHARED").is_none() {
        command.env("SKYWEIR_SHARED", root().join("../shared"));
    }
    let out = File::create(log).with_context(|| log.display().to_string())?;
    let mut group = Group::spawn(&command, out.try_clone()?.into(), out.into())?;
    match group.wait(patience) {
        Ok(status) => Ok(Some(status)),
        Err(error) => {
            println!("{line}: {error:#}");
            Ok(None)
        }
    }
}

/// Copies what git knows or would take, as it is now.
fn copy_tree(to: &Path) -> Result<()> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()?;
    ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    for name in String::from_utf8(output.stdout)?.split('\0').filter(|name| !name.is_empty()) {
        let (from, target) = (root().join(name), to.join(name));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        // a file may be deleted and not yet committed
        if from.is_file() {
            fs::copy(&from, &target).with_context(|| format!("cannot copy {name}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_to_no_end_is_told_from_what_fails() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let run = |line: &str, patience| {
            shell(dir.path(), line, &[("SAYS", "said".into())], &log, patience).unwrap()
        };
        let long = Duration::from_secs(60);
        assert!(run("echo $SAYS; true", long).is_some_and(|status| status.success()));
        assert_eq!(fs::read_to_string(&log).unwrap(), "said\n");
        assert!(run("false", long).is_some_and(|status| !status.success()));
        assert_eq!(run("tail -f /dev/null", Duration::from_millis(50)), None);
    }

    #[test]
    fn what_was_skipped_has_not_survived() {
        let bad = [Fate::Survived, Fate::Broken, Fate::Hung];
        assert!(Fate::Killed.is_good() && Fate::Skipped.is_good() && !bad.iter().any(|fate| fate.is_good()));
    }

    #[test]
    fn the_killer_and_what_it_needs_are_named_in_comments() {
        let patch = "# an off-by-one\n# kills-with: cargo test -p skyweir-types -- cursors\n# needs: redis\n--- a/x\n";
        assert_eq!(says(patch, "kills-with").as_deref(), Some("cargo test -p skyweir-types -- cursors"));
        assert!(needs_redis(patch).unwrap() && !needs_redis("--- a/x\n").unwrap());
        assert!(needs_redis("# needs: cql\n").is_err());
    }
}
