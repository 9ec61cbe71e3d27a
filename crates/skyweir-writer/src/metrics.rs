//! Metrics of the writer.

/// Tells the recorder what each metric means. Call once, after the recorder is installed.
pub fn describe() {}
