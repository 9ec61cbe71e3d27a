//! The gRPC read API: bsky.Service and skyweir.v1.
//!
//! A read takes the viewer's cached timeline, then a view of the records, and shows of the cache what the view
//! confirms; below the cache's floor it goes on by the merge. It writes nothing: what the writer should do it is told
//! through `skyweir_store::Enrol`.

mod bsky;
mod check;
mod config;
mod delivery;
mod error;
mod followers;
mod limits;
mod merges;
pub mod metrics;
mod page;
mod render;
mod server;
mod skyweir_v1;
mod status;
mod subject;
mod timeline;
mod upstream;
mod uri;
mod walk;

pub use config::Config;
pub use delivery::DeliveryReader;
pub use error::{Error, ServeError};
pub use followers::{Edge, FollowCounts, GraphPage, GraphReader, Side};
pub use page::{Filters, Page, PageItem, Query};
pub use server::{Api, Deps};
pub use timeline::TimelineReader;
pub use upstream::{UpstreamHttp, UpstreamUrl};
