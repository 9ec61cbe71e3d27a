//! A real child under the real shim: dd writes, syncs, and loses power.

use super::*;

/// Runs a shell script under the shim in a folder, then takes the power away.
fn lose(script: &str, before: &[(&str, &str)], seed: u64) -> Option<(tempfile::TempDir, Noticed)> {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = compile(dir.path()).unwrap() else {
        println!("skipped: no C compiler");
        assert!(!crate::run::require_all(), "SKYWEIR_REQUIRE_ALL=1: nothing may be skipped");
        return None;
    };
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    for (name, text) in before {
        fs::write(data.join(name), text).unwrap();
    }
    let recording = Recording::begin(&data, &dir.path().join("side")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(&recording.data).envs(recording.env(&library));
    assert!(command.status().unwrap().success());
    let noticed = recording.lose_power(&mut Rng::new(seed), false).unwrap();
    Some((dir, noticed))
}

#[test]
fn unsynced_bytes_are_gone_and_synced_ones_stay() {
    let script = "printf hello | dd of=a conv=notrunc,fsync status=none
                  printf J | dd of=a conv=notrunc bs=1 count=1 status=none
                  printf more >> a
                  printf x | dd of=b conv=notrunc bs=1 seek=1 status=none";
    let Some((dir, noticed)) = lose(script, &[("a", "....."), ("b", "old")], 1) else { return };
    let read = |name: &str| fs::read_to_string(dir.path().join("data").join(name)).unwrap();
    assert_eq!((read("a").as_str(), read("b").as_str()), ("hello", "old"));
    assert!(noticed.overwrites >= 2 && noticed.patched >= 2 && noticed.bytes_cut >= 4, "{noticed:?}");
}

#[test]
fn an_unsynced_rename_may_be_undone() {
    let script = "printf new | dd of=t conv=fsync status=none; mv t current";
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let Some((dir, _)) = lose(script, &[("current", "old")], seed) else { return };
        seen.insert(fs::read_to_string(dir.path().join("data/current")).unwrap());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["new", "old"]);
}
