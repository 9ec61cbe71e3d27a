//! The follower graph as the writer sees it: pages of followers and the high-follow snapshot. It knows no posts.
//!
//! [`Graph`] is what the writer asks, over a store of its own process or over servers; [`Server`] serves a store's
//! graph to the writers of other processes.

mod address;
mod config;
mod error;
mod followers;
mod graph;
mod high_follows;
pub mod metrics;
mod remote;
mod server;
mod snapshots;
mod store_pages;

pub use address::Address;
pub use config::Config;
pub use error::Error;
pub use followers::FollowerPages;
pub use graph::Graph;
pub use high_follows::HighFollows;
pub use server::Server;
