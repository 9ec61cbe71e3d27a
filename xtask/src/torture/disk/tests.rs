//! The cut-back, case by case.

use super::super::journal::parse;
use super::*;

fn real(files: &[(&str, u64, u64)]) -> Listing {
    files.iter().map(|(path, ino, len)| ((*path).to_owned(), Real { ino: *ino, len: *len })).collect()
}

/// All outcomes over many seeds.
fn outcomes(before: &Listing, journal: &str, after: &Listing, torn: bool) -> HashSet<String> {
    let records: Vec<Record> = journal.lines().map(|line| parse(&line.replace(' ', "\t")).unwrap()).collect();
    let lose = |seed| {
        let mut disk = Disk::new(before);
        disk.replay(&records, |_| true);
        format!("{:?}", disk.lose(after, &mut Rng::new(seed), torn).0)
    };
    (0..200).map(lose).collect()
}

#[test]
fn appended_bytes_are_cut_and_overwritten_ones_come_back() {
    let before = real(&[("/d/a", 1, 10)]);
    let after = real(&[("/d/a", 1, 30)]);
    let found = outcomes(&before, "over 2 4 0 1 /d/a\nsync 20 1 /d/a\nover 5 1 4 1 /d/a", &after, false);
    let patch = Step::Patch { path: "/d/a".into(), old: Old { at: 5, len: 1, kept: 4 } };
    let cut = Step::Cut { path: "/d/a".into(), len: 20 };
    assert_eq!(found, HashSet::from([format!("{:?}", [patch, cut])]));
}

#[test]
fn a_torn_tail_keeps_what_was_synced() {
    let before = real(&[("/d/a", 1, 10)]);
    let after = real(&[("/d/a", 1, 13)]);
    let found = outcomes(&before, "", &after, true);
    let cut = |len| format!("{:?}", [Step::Cut { path: "/d/a".into(), len }]);
    assert_eq!(found, HashSet::from([cut(10), cut(11), cut(12), cut(13)]));
}

#[test]
fn a_creation_may_not_last_until_its_folder_is_synced() {
    let after = real(&[("/d/a", 1, 4)]);
    let removed = format!("{:?}", [Step::Remove("/d/a".into())]);
    let found = outcomes(&real(&[]), "create 1 /d/a\ndone 1 1\nsync 4 1 /d/a", &after, false);
    assert_eq!(found, HashSet::from(["[]".to_owned(), removed]));
    let found = outcomes(&real(&[]), "create 1 /d/a\ndone 1 1\nsync 4 1 /d/a\nsyncdir /d", &after, false);
    assert_eq!(found, HashSet::from(["[]".to_owned()]));
}

#[test]
fn a_rename_may_be_undone_with_what_it_replaced() {
    let before = real(&[("/d/current", 1, 3)]);
    let after = real(&[("/d/current", 2, 5)]);
    let journal = "create 1 /d/t\ndone 1 2\nsync 5 2 /d/t\nrename 2 /d/t /d/current /s/2\ndone 2 0";
    let undone = [
        Step::Rename { from: "/d/current".into(), to: "/d/t".into() },
        Step::Restore { backup: "/s/2".into(), to: "/d/current".into() },
    ];
    let both = [&undone[..], &[Step::Remove("/d/t".into())]].concat();
    let found = outcomes(&before, journal, &after, false);
    assert_eq!(found, HashSet::from(["[]".to_owned(), format!("{undone:?}"), format!("{both:?}")]));
}

#[test]
fn failed_operations_are_none_and_lost_folders_take_all_along() {
    let after = real(&[("/d/sub/a", 1, 4)]);
    let journal = "mkdir 1 /d/sub\ndone 1 0\ncreate 2 /d/sub/a\ndone 2 1\nsync 4 1 /d/sub/a\nunlink 3 /d/sub/a -\nfail 3";
    let found = outcomes(&real(&[]), journal, &after, false);
    let removed = Step::Remove("/d/sub/a".into());
    let both = [removed.clone(), Step::RemoveDir("/d/sub".into())];
    assert_eq!(found, HashSet::from(["[]".to_owned(), format!("{:?}", [removed]), format!("{both:?}")]));
}

#[test]
fn an_unseen_rename_is_noticed_and_keeps_its_contents() {
    let before = real(&[("/d/current", 1, 3)]);
    let after = real(&[("/d/current", 2, 5)]);
    let records: Vec<Record> = ["create\t1\t/d/t", "done\t1\t2", "sync\t5\t2\t/d/t"]
        .iter()
        .map(|line| parse(line).unwrap())
        .collect();
    for seed in 0..50 {
        let mut disk = Disk::new(&before);
        disk.replay(&records, |_| true);
        let (steps, noticed) = disk.lose(&after, &mut Rng::new(seed), false);
        assert_eq!((steps, noticed.unseen), (vec![], 1));
    }
}

#[test]
fn what_the_process_died_in_is_looked_up() {
    let before = real(&[("/d/a", 1, 3), ("/d/b", 2, 4)]);
    let records = [parse("rename\t1\t/d/a\t/d/b\t/s/1").unwrap()];
    let mut disk = Disk::new(&before);
    disk.replay(&records, |_| false);
    assert_eq!(disk.lose(&before, &mut Rng::new(1), false).0, vec![]);
}
