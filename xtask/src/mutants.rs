//! `cargo xtask mutants`: known bugs, applied one at a time, each of which a test has to notice.
//!
//! A mutant is `xtask/mutants/NAME.patch`: comment lines, one of them `# kills-with: cargo test …`, then a patch
//! against the workspace. The tree is copied first, so that the working copy is never touched; all mutants share the
//! builds in `target/mutants`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::{Table, now, root};

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
}

/// Runs them; an error when one survives.
pub(crate) fn run(options: &Options) -> Result<()> {
    let patches = patches(options.name.as_deref())?;
    let temp = tempfile::Builder::new().prefix("skyweir-mutants-").tempdir()?;
    let tree = temp.path().join("tree");
    copy_tree(&tree)?;
    let mut table = Table::new(&["mutant", "fate", "seconds", "killed by"]);
    let mut bad = 0;
    for patch in &patches {
        let name = patch.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        println!("mutant {name}");
        let began = now();
        let text = fs::read_to_string(patch)?;
        let test = killer(&text).with_context(|| format!("{name}: no line \"# kills-with: COMMAND\""))?;
        let fate = judge(&tree, patch, &test).with_context(|| name.clone())?;
        bad += usize::from(fate != Fate::Killed);
        table.row([
            name,
            format!("{fate:?}").to_lowercase(),
            format!("{:.1}", began.elapsed().as_secs_f64()),
            test,
        ]);
    }
    table.print();
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

/// The command that has to fail.
fn killer(patch: &str) -> Option<String> {
    patch.lines().find_map(|line| line.strip_prefix("# kills-with:")).map(|test| test.trim().to_owned())
}

fn judge(tree: &Path, patch: &Path, test: &str) -> Result<Fate> {
    apply(tree, patch, false)?;
    let built = shell(tree, &format!("{} --no-run", test.split(" -- ").next().unwrap_or(test)))?;
    let fate = if built.status.success() {
        let tested = shell(tree, test)?;
        let survived = tested.status.success();
        if survived { Fate::Survived } else { Fate::Killed }
    } else {
        println!("{}", String::from_utf8_lossy(&built.stderr));
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

fn shell(tree: &Path, line: &str) -> Result<Output> {
    let mut command = Command::new("bash");
    command.args(["-c", line]).current_dir(tree).stdin(Stdio::null());
    command.env("CARGO_TARGET_DIR", root().join("target/mutants"));
    if std::env::var_os("SKYWEIR_SHARED").is_none() {
        command.env("SKYWEIR_SHARED", root().join("../shared"));
    }
    command.output().with_context(|| format!("cannot start {line}"))
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
    fn the_killer_is_named_in_a_comment() {
        let patch = "# an off-by-one\n# kills-with: cargo test -p skyweir-types -- cursors\n--- a/x\n";
        assert_eq!(killer(patch).as_deref(), Some("cargo test -p skyweir-types -- cursors"));
        assert_eq!(killer("--- a/x\n"), None);
    }
}
