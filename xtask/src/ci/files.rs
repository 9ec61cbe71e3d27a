//! Rules for files: none too long, none that names a place on one machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::run::root;

/// The most lines of a Rust file.
const LINES: usize = 400;
/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Checks all files that git knows or would take.
pub(crate) fn check() -> Result<()> {
    let root = root();
    let mut wrong = Vec::new();
    let files = tracked(&root)?;
    for file in &files {
        // a file may be deleted and not yet committed
        let Ok(bytes) = fs::read(root.join(file)) else { continue };
        wrong.extend(judge(&file.display().to_string(), &bytes));
    }
    println!("{} files", files.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn judge(name: &str, bytes: &[u8]) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    if name.ends_with(".rs") && lines > LINES && !LONG_FILES.iter().any(|(file, _)| *file == name) {
        wrong.push(format!("{name}: {lines} lines, {LINES} at the most (exceptions: xtask/src/ci/files.rs)"));
    }
    for place in ["work", "root", "farm"].map(|place| format!("/{place}/")) {
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.windows(place.len()).any(|window| window == place.as_bytes()) {
                wrong.push(format!("{name}:{}: names a place on one machine: {place}", number + 1));
            }
        }
    }
    wrong
}

/// Files that git knows or would take; without a repository, all but what is built.
fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let git = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output();
    if let Ok(output) = git
        && output.status.success()
    {
        let text = String::from_utf8(output.stdout)?;
        return Ok(text.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect());
    }
    let mut files = Vec::new();
    let mut ahead = vec![root.to_path_buf()];
    while let Some(dir) = ahead.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type()?.is_dir() {
                if name != "target" && name != ".git" && name != ".skyweir" {
                    ahead.push(path);
                }
            } else {
                files.push(path.strip_prefix(root)?.to_path_buf());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_machine_paths_are_noticed() {
        assert_eq!(judge("a.rs", "x\n".repeat(400).as_bytes()), Vec::<String>::new());
        assert_eq!(judge("a.rs", "x\n".repeat(401).as_bytes()).len(), 1);
        assert_eq!(judge("a.md", "x\n".repeat(401).as_bytes()), Vec::<String>::new());
        let place = format!("ok\nsee /{}/x", "root");
        assert_eq!(
            judge("a.md", place.as_bytes()),
            [format!("a.md:2: names a place on one machine: /{}/", "root")]
        );
    }
}
