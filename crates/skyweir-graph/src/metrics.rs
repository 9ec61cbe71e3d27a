//! Metrics of the follower graph.

/// Tells the recorder what each metric means. Call once, after the recorder is installed.
pub fn describe() {}
