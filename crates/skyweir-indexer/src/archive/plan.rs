//! Which segments and blocks of an archive to download: `planSnapshot`.

use serde::Deserialize;
use serde_json::json;
use skyweir_types::Collection;

use super::http::{Failure, Http};

/// A page of a plan has a hundred thousand entries at most.
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
pub(super) struct Planned {
    pub(super) name: String,
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
        (!names).then_some("the plan names what is no segment")
    }
}
