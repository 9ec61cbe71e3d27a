//! Which segments and blocks of an archive to download: `planSnapshot`.

use serde::Deserialize;
use serde_json::json;
use skyweir_types::Collection;

use super::http::{Failure, Http};
use super::segment::MOST_BLOCKS;

/// A page of a plan has a hundred thousand entries at most, of some 200 bytes each: three times that. It is read as a
/// whole, once for each page, before anything is downloaded by it.
const MOST_BYTES: usize = 64 << 20;
/// Sequence numbers are below this.
const SEQ_END: u64 = 1_000_000_000_000_000;

/// A page of a plan.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    /// The page tells of all up to here.
    pub(super) planned_through_seq: u64,
    /// The end of the archive, or of what was asked for.
    pub(super) sealed_tip_seq: u64,
    #[serde(default)]
    pub(super) segments: Vec<Planned>,
}

/// What to download of a segment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Planned {
    pub(super) name: String,
    /// Sequence number of its first row, or of one that was compacted away.
    pub(super) min_seq: u64,
    pub(super) mode: Mode,
    #[serde(default)]
    pub(super) blocks: Vec<Range>,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Mode {
    /// The whole file.
    Segment,
    /// These blocks.
    Blocks,
}

/// Blocks from one to another, both included.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Asks for a page of what is behind one sequence number, and up to another.
pub(super) async fn plan(http: &mut Http, after: u64, through: Option<u64>) -> Result<Plan, Failure> {
    let mut ask = json!({"kinds": ["commit", "account", "sync"], "dids": [], "afterSeq": after,
        "collections": Collection::ALL.map(Collection::nsid)});
    if let Some(through) = through {
        ask["beforeSeq"] = json!(through);
    }
    let mut answer = http.post("planSnapshot", ask.to_string()).await?;
    let refused = |why: String| Failure::Refused(format!("planSnapshot: {why}"));
    let Some(bytes) = answer.whole(MOST_BYTES).await? else {
        return Err(refused("the plan is too long".to_owned()));
    };
    let plan: Plan = serde_json::from_slice(&bytes)
        .map_err(|error| refused(format!("the plan can't be read: {error}")))?;
    match plan.fault(after) {
        Some(fault) => Err(refused(fault.to_owned())),
        None => Ok(plan),
    }
}

impl Plan {
    fn fault(&self, after: u64) -> Option<&'static str> {
        // a name goes into a query as it stands
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if self.sealed_tip_seq >= SEQ_END || self.planned_through_seq > self.sealed_tip_seq {
            return Some("the plan's sequence numbers are out of order");
        }
        if self.sealed_tip_seq > after && self.planned_through_seq <= after {
            return Some("the plan doesn't get on");
        }
        let names = self.segments.iter().all(|segment| segment.name.bytes().all(is_plain));
        if !names {
            return Some("the plan names what is no segment");
        }
        // what is handed on late would be behind the place that is saved by then
        if !self.segments.is_sorted_by(|before, after| before.min_seq < after.min_seq) {
            return Some("the plan's segments are out of order");
        }
        let whole = self.segments.iter().all(Planned::is_whole);
        (!whole).then_some("the plan's blocks are out of order, or missing")
    }
}

impl Planned {
    /// Whether it says which blocks: one after the other, and at least one.
    fn is_whole(&self) -> bool {
        let rises =
            self.blocks.iter().all(|range| range.first <= range.last && range.last < u64::from(MOST_BLOCKS));
        let apart = self.blocks.is_sorted_by(|before, after| before.last < after.first);
        self.mode == Mode::Segment || (rises && apart && !self.blocks.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn fault(segments: &Value) -> Option<&'static str> {
        let plan = json!({"plannedThroughSeq": 9, "sealedTipSeq": 9, "segments": segments});
        serde_json::from_value::<Plan>(plan).unwrap().fault(0)
    }

    fn blocks(ranges: &[(u64, u64)]) -> Value {
        let ranges: Vec<_> =
            ranges.iter().map(|(first, last)| json!({"first": first, "last": last})).collect();
        json!([{"name": "a", "minSeq": 1, "mode": "blocks", "blocks": ranges}])
    }

    #[test]
    fn what_would_leave_a_hole_is_refused() {
        let segments = |first: u64, second: u64| {
            json!([{"name": "a", "minSeq": first, "mode": "segment"},
                {"name": "b", "minSeq": second, "mode": "segment"}])
        };
        assert_eq!(fault(&segments(1, 5)), None);
        assert_eq!(fault(&segments(5, 1)), Some("the plan's segments are out of order"));
        assert_eq!(fault(&blocks(&[(0, 0), (2, 7)])), None);
        for wrong in [&[][..], &[(1, 0)], &[(2, 7), (0, 0)], &[(0, 3), (3, 4)], &[(0, u64::MAX)]] {
            assert_eq!(fault(&blocks(wrong)), Some("the plan's blocks are out of order, or missing"));
        }
    }
}
