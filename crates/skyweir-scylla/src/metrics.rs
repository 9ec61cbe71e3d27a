//! What the store tells of itself.

use metrics::{Unit, describe_counter};

const RESENT: &str = "skyweir_scylla_batches_resent_total";
const TRIMS: &str = "skyweir_scylla_trims_total";

/// Describes this crate's metrics to the recorder.
pub fn describe() {
    describe_counter!(
        RESENT,
        Unit::Count,
        "Batches of references that the node they belong to did not take in time, sent again to another."
    );
    describe_counter!(TRIMS, Unit::Count, "Times that a timeline's oldest references were removed.");
}

pub(crate) fn resent() {
    metrics::counter!(RESENT).increment(1);
}

pub(crate) fn trimmed() {
    metrics::counter!(TRIMS).increment(1);
}
