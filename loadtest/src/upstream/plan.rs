//! Plans of what to download from the stand-in's archive: `planSnapshot`.

use super::archive::{Archive, Sealed};
use super::chaos::Chaos;
use crate::segment::{ArchiveBlock, ArchiveRow};
use serde::Deserialize;
use serde_json::{Value, json};

/// A page has no more entries.
const ENTRIES: usize = 100_000;
/// From this share of its blocks on, in 100, a segment is planned whole.
const DENSE: usize = 75;

/// What a plan is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Ask {
    kinds: Vec<String>,
    dids: Vec<String>,
    collections: Vec<String>,
    after_seq: u64,
    before_seq: Option<u64>,
}

impl Ask {
    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let is_kind = |kind: &String| ["commit", "identity", "account", "sync"].contains(&kind.as_str());
        if self.kinds.len() > 4 || !self.kinds.iter().all(is_kind) {
            return Some("unknown kind");
        }
        if !self.collections.is_empty() && !self.wants_kind("commit") {
            return Some("collections without kind commit");
        }
        if self.before_seq.is_some_and(|before| before <= self.after_seq) {
            return Some("beforeSeq is not above afterSeq");
        }
        (self.dids.len() > 10_000 || self.collections.len() > 100).then_some("too many of them")
    }

    fn wants_kind(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind)
    }

    fn wants(&self, row: &ArchiveRow) -> bool {
        let did = self.dids.is_empty() || self.dids.contains(&row.did);
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => row.collection.starts_with(prefix),
            None => row.collection == *pattern,
        };
        did && match row.indexed_as() {
            "$identity" => self.wants_kind("identity"),
            "$account" => self.wants_kind("account"),
            "$sync" => self.wants_kind("sync"),
            _ => {
                self.wants_kind("commit")
                    && (self.collections.is_empty() || self.collections.iter().any(matches))
            }
        }
    }

    fn reaches(&self, block: &ArchiveBlock, tip: u64) -> bool {
        block.seqs.1 > self.after_seq && block.seqs.0 <= tip
    }
}

/// A page of the plan. With `chaos` it is short, and brings more than was asked for.
pub(super) fn plan(archive: &Archive, ask: &Ask, mut chaos: Option<&mut Chaos>) -> Value {
    let tip = ask.before_seq.map_or(archive.through, |before| before.min(archive.through));
    let mut room = chaos.as_mut().map_or(ENTRIES, |chaos| chaos.page());
    let page = room;
    let (mut segments, mut through, mut blocks) = (Vec::new(), tip, 0);
    'page: for (index, segment) in archive.segments.iter().enumerate() {
        let mut wanted = Vec::new();
        for (at, block) in segment.blocks.iter().enumerate() {
            let too_much = chaos.as_mut().is_some_and(|chaos| chaos.is_too_much());
            if ask.reaches(block, tip) && (too_much || block.rows.iter().any(|row| ask.wants(row))) {
                wanted.push(at);
            }
        }
        if wanted.is_empty() {
            continue;
        }
        if room == 0 {
            break;
        }
        if wanted.len() * 100 >= segment.blocks.len() * DENSE {
            room -= 1;
            blocks += wanted.len();
            through = segment.seqs().1.min(tip);
            segments.push(entry(index, segment, None));
            continue;
        }
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for at in wanted {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == at => *last = at,
                _ if room == 0 => {
                    segments.push(entry(index, segment, Some(&ranges)));
                    break 'page;
                }
                _ => {
                    room -= 1;
                    ranges.push((at, at));
                }
            }
            blocks += 1;
            through = segment.blocks[at].seqs.1.min(tip);
        }
        segments.push(entry(index, segment, Some(&ranges)));
    }
    // a page that isn't full tells of all there is
    if room > 0 {
        through = tip;
    }
    json!({"plannedThroughSeq": through, "sealedTipSeq": tip, "segments": segments, "stats": {
        "segmentsExamined": archive.segments.len(), "segmentsMatched": segments.len(), "blocksMatched": blocks,
        "entries": page - room}})
}

fn entry(index: usize, segment: &Sealed, ranges: Option<&[(usize, usize)]>) -> Value {
    let (least, most) = segment.seqs();
    let mut entry = json!({"name": segment.name, "index": index, "checksum": segment.checksum(), "minSeq": least,
        "maxSeq": most, "mode": "segment"});
    if let Some(ranges) = ranges {
        let ranges = ranges.iter().map(|(first, last)| json!({"first": first, "last": last}));
        entry["blocks"] = ranges.collect();
        entry["mode"] = json!("blocks");
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::upstream::archive::Sizes;
    use crate::upstream::chaos::ArchiveFaults;
    use crate::upstream::log::{Entry, Item};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    /// Blocks of two rows, a quarter of which hold follows.
    fn archive() -> Archive {
        let mut archive = Archive::default();
        let entries = (1..=100).map(|seq| {
            let nsid = if seq % 8 == 0 { "app.bsky.graph.follow" } else { "app.bsky.feed.like" };
            let event = match seq {
                50 => Event::account("did:plc:a", seq, false, None),
                _ => Event::create("did:plc:a", seq, nsid, "k", json!({"$type": nsid})),
            };
            Entry { seq, item: Item::Event(Arc::new(event), None) }
        });
        archive.seal(entries, Sizes { rows: 2, blocks: 6 }).unwrap();
        archive
    }

    /// The sequence numbers of a page's blocks.
    fn planned(archive: &Archive, page: &Value) -> BTreeSet<u64> {
        let mut seqs = BTreeSet::new();
        for entry in page["segments"].as_array().unwrap() {
            let segment = archive.segment(entry["name"].as_str().unwrap()).unwrap();
            let number = |value: &Value| value.as_u64().unwrap() as usize;
            let blocks: Vec<usize> = match entry["blocks"].as_array() {
                None => (0..segment.blocks.len()).collect(),
                Some(ranges) => {
                    ranges.iter().flat_map(|range| number(&range["first"])..=number(&range["last"])).collect()
                }
            };
            let rows = blocks.iter().flat_map(|block| &segment.blocks[*block].rows);
            seqs.extend(rows.map(|row| row.seq));
        }
        seqs
    }

    #[test]
    fn short_pages_miss_nothing_and_come_to_an_end() {
        let archive = archive();
        let wanted: BTreeSet<u64> = (8..=96).step_by(8).chain([50]).collect();
        for seed in 0..50 {
            let mut chaos = Chaos::new(ArchiveFaults { seed, faults: 0 });
            let (mut after, mut seqs) = (0, BTreeSet::new());
            while after < 100 {
                let collections = vec!["app.bsky.graph.*".to_owned()];
                let ask = Ask { collections, after_seq: after, before_seq: Some(100), ..Ask::default() };
                let page = plan(&archive, &ask, Some(&mut chaos));
                let through = page["plannedThroughSeq"].as_u64().unwrap();
                assert!(through > after, "seed {seed}: {page}");
                let reached = planned(&archive, &page);
                let expected = wanted.iter().filter(|seq| **seq > after && **seq <= through);
                assert!(expected.copied().all(|seq| reached.contains(&seq)), "seed {seed}: {page}");
                seqs.extend(reached);
                after = through;
            }
            assert!(seqs.is_superset(&wanted), "seed {seed}");
        }
    }

    #[test]
    fn a_plan_is_no_more_than_its_blocks() {
        let archive = archive();
        let ask = Ask { collections: vec!["app.bsky.graph.follow".into()], ..Ask::default() };
        let page = plan(&archive, &ask, None);
        assert_eq!((&page["plannedThroughSeq"], &page["sealedTipSeq"]), (&json!(100), &json!(100)));
        let seqs = planned(&archive, &page);
        assert!(seqs.len() < 30 && seqs.contains(&50) && !seqs.contains(&1), "{seqs:?}");
        let all = planned(&archive, &plan(&archive, &Ask { after_seq: 90, ..Ask::default() }, None));
        assert!(all.is_superset(&(91..=100).collect()));
        let commits = Ask { kinds: vec!["commit".into()], collections: ask.collections, ..Ask::default() };
        assert!(!planned(&archive, &plan(&archive, &commits, None)).contains(&50));
        assert_eq!(Ask { kinds: vec!["likes".into()], ..Ask::default() }.fault(), Some("unknown kind"));
        assert!(Ask { after_seq: 5, before_seq: Some(5), ..Ask::default() }.fault().is_some());
    }
}
