//! The follower graph as the writer sees it: pages of followers and the high-follow snapshot. It knows no posts.

mod config;
mod followers;
mod graph;
mod high_follows;
pub mod metrics;

pub use config::Config;
pub use followers::FollowerPages;
pub use graph::{Error, Graph};
pub use high_follows::HighFollows;
