//! Sources, decoding, and the application of events.

mod apply;
mod config;
mod group;
mod intake;
pub mod metrics;
mod run;

pub use apply::{Applier, Horizons, Outcome, Swept};
pub use config::{Config, CursorChoice};
pub use intake::{Begin, Intake, is_loaded};
pub use run::{Error, Indexer};

pub mod archive;
pub mod decode;
pub mod repos;
mod skip;
pub mod source;
mod unzip;
mod whole;

pub use skip::Skip;
